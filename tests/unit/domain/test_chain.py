"""A request's way along its containers: types, sizes, and whose error it is."""

import pytest

from modelyard.domain.chain import ARRAYS, BETWEEN_BYTES, Final, Next, accept_at, after_answer

AS_CSV = "text/csv, application/json;q=0.5"
THREE = ("a", "b", "c")


@pytest.mark.parametrize(
    ("takes_arrays", "expected"),
    [
        ((True, True, True), [ARRAYS, ARRAYS, AS_CSV]),
        ((True, False, True), ["", "", ""]),
        ((False, True, True), ["", ARRAYS, AS_CSV]),
        ((True, True, False), [ARRAYS, AS_CSV, ""]),
    ],
)
def test_arrays_go_only_between_two_that_take_them(
    takes_arrays: tuple[bool, ...], expected: list[str]
) -> None:
    accepts = [accept_at(n, takes_arrays, accept="", content_type="text/csv") for n in range(3)]
    assert accepts == expected


def test_the_callers_wish_is_for_the_last_container() -> None:
    accepts = [accept_at(n, (False,) * 3, accept="x/y", content_type="a/b") for n in range(3)]
    assert accepts == ["", "", "x/y"]


def test_an_answer_is_the_next_request_with_its_content_type() -> None:
    step = after_answer(THREE, 0, status=200, content_type="text/csv", body=b"1")
    assert step == Next(1, "text/csv", b"1")
    last = after_answer(THREE, 2, status=200, content_type="text/csv", body=b"1")
    assert last == Final(200, "text/csv", b"1", "c")


def test_an_error_ends_the_way_and_names_its_container() -> None:
    step = after_answer(THREE, 1, status=415, content_type="text/plain", body=b"no")
    assert step == Final(415, "text/plain", b"no", "b")


def test_at_most_five_megabytes_pass_between_two_and_any_number_leaves_the_last() -> None:
    body = bytes(BETWEEN_BYTES)
    step = after_answer(THREE, 0, status=200, content_type="a/b", body=body)
    assert isinstance(step, Next)
    step = after_answer(THREE, 0, status=200, content_type="a/b", body=body + b"0")
    assert isinstance(step, Final)
    assert step.status == 500
    assert step.body == (
        b"The request payload from a to b is 5242881 bytes, which has exceeded the maximum limit of 5 MB."
    )
    step = after_answer(THREE, 2, status=200, content_type="a/b", body=body + b"0")
    assert isinstance(step, Final)
    assert step.status == 200
