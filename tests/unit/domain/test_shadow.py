"""A shadow's answer beside production's: numbers within a tolerance, everything else exactly, at a bounded cost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.shadow import COMPARED_BYTES, Answer, Comparison, compare


def said(text: str | bytes, kind: str = "application/json", status: int = 200) -> Answer:
    return Answer(status, kind, text if isinstance(text, bytes) else text.encode())


def test_the_same_bytes_agree_whatever_they_are() -> None:
    binary = said(b"\x93NUMPY\x00", "application/x-npy")
    assert compare(binary, binary, tolerance=0.0) == Comparison(True, 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "drift", "agrees"),
    [
        ('{"predictions": [[1.0]]}', '{"predictions":[[1.0]]}', 0.0, True),
        ("[100.0, 2]", "[100.05, 2]", 0.05 / 100.05, True),
        ("[100.0, 2]", "[110.0, 2]", 10 / 110, False),
        ("1,2\n3,4\n", "1,2\n3,-4\n", 2.0, False),
        ('["cat", 1]', '["dog", 1]', None, False),
        ('["1 cat"]', '["2 cat"]', None, False),
        ("[1, 2]", "[1, 2, 3]", None, False),
        ("[1]", "[1e999]", None, False),
        ("[null]", "[1]", None, False),
    ],
)
def test_numbers_agree_within_the_tolerance_and_words_exactly(
    ours: str, theirs: str, drift: float | None, agrees: bool
) -> None:
    found = compare(said(ours), said(theirs), tolerance=0.001)
    assert found is not None
    assert found.agrees is agrees
    assert found.drift == (None if drift is None else pytest.approx(drift))


def test_a_shadow_that_fails_disagrees_and_a_production_error_is_nothing_to_compare_with() -> None:
    assert compare(said("1"), said("", status=500), tolerance=1.0) == Comparison(False, None)
    assert compare(said("", status=500), said("1"), tolerance=1.0) is None


def test_a_long_answer_is_compared_as_far_as_the_bound() -> None:
    rows = [n / 7 for n in range(COMPARED_BYTES)]
    ours, near = json.dumps(rows), json.dumps([row * 1.0001 for row in rows])
    assert len(ours) > COMPARED_BYTES
    found = compare(said(ours), said(near), tolerance=0.001)
    assert found is not None
    assert found.agrees
    wrong = compare(said(ours), said(json.dumps([row * 2 for row in rows])), tolerance=0.001)
    assert wrong is not None
    assert not wrong.agrees


@given(st.text(alphabet='"\\.e-1 a\n', max_size=200), st.text(alphabet='"\\.e-1 a', max_size=200))
def test_nothing_that_is_said_can_raise(ours: str, theirs: str) -> None:
    found = compare(said(ours), said(theirs), tolerance=0.0)
    assert found is not None
    assert found.drift is None or found.drift >= 0.0


@given(st.lists(st.floats(-1e12, 1e12), max_size=20))
def test_an_answer_agrees_with_itself_written_otherwise(numbers: list[float]) -> None:
    tight = json.dumps(numbers, separators=(",", ":"))
    assert compare(said(json.dumps(numbers, indent=2)), said(tight), tolerance=0.0) == Comparison(
        True, 0.0
    )
