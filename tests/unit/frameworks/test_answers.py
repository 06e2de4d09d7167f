"""Answers: the type that the caller accepts, one element a row, numbers by their own precision."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.frameworks.answers import (
    CSV,
    JSON,
    JSON_LINES,
    NPY,
    NotAcceptable,
    WrongOutput,
    choose,
    encode,
    shortest,
    split,
)


@pytest.mark.parametrize(
    ("accept", "content_type", "chosen"),
    [
        ("", "text/csv", CSV),
        ("", "application/json", JSON),
        ("", "application/jsonlines", JSON_LINES),
        ("", "application/x-npy; x=y", NPY),
        ("", "image/png", JSON),
        (" ", "", JSON),
        ("*/*", "text/csv", CSV),
        ("*/*", "application/json", JSON),
        ("application/*", "text/csv", JSON),
        ("application/*", "application/x-npy", NPY),
        ("text/*", "application/json", CSV),
        ("text/csv", "application/json", CSV),
        ("Text/CSV; charset=utf-8", "application/json", CSV),
        ("application/json, text/csv", "text/csv", JSON),
        ("application/json;q=0.2, text/csv;q=0.9", "application/json", CSV),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "text/csv", CSV),
        ("application/json;q=0, */*", "application/json", CSV),
        ("*/*;q=0.1, application/x-npy", "text/csv", NPY),
        ("application/x-jsonlines", "text/csv", JSON_LINES),
        ("application/json;q=nonsense", "text/csv", JSON),
        ("application/json;q=7", "text/csv", JSON),
        (",,application/json,", "text/csv", JSON),
    ],
)
def test_the_answers_type(accept: str, content_type: str, chosen: str) -> None:
    assert choose(accept, content_type) == chosen


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0", "*/*;q=0", "json", "text/html, image/*"]
)
def test_a_type_that_cannot_be_written_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"use one of application/json, text/csv"):
        choose(accept, "application/json")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_any_header_is_understood_or_not_acceptable(accept: str, content_type: str) -> None:
    try:
        assert choose(accept, content_type) in (JSON, CSV, JSON_LINES, NPY)
    except NotAcceptable as error:
        assert "not supported" in str(error)


def objects(*values: Any) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (np.array([1, 0]), [1, 0]),
        (np.array([0.1, 0.5], dtype=np.float32), [0.1, 0.5]),
        (np.array([[0.1, 0.9]], dtype=np.float32), [[0.1, 0.9]]),
        (np.array([0.1], dtype=np.float16), [0.1]),
        (np.array([0.1], dtype=np.longdouble), [0.1]),
        (np.array([1 / 3]), [1 / 3]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "ü"]), ["a", "ü"]),
        (np.array([b"a"]), ["a"]),
        (objects("a", None, 1), ["a", None, 1]),
        (objects({"x": np.float32(0.1), 1: np.int64(2)}), [{"x": 0.1, "1": 2}]),
        (objects([np.float32(0.1), (1, np.array([0.1], np.float32))]), [[0.1, [1, [0.1]]]]),
        (np.array([np.nan, np.inf, -np.inf, 1.0]), [None, None, None, 1]),
        (np.array([np.nan, 1.0], dtype=np.float32), [None, 1]),
        (np.array([[[1.5]]]), [[[1.5]]]),
        (
            {"label": np.array([1, 0]), "p": np.array([[0.25, 0.75], [1, 0]], np.float32)},
            [{"label": 1, "p": [0.25, 0.75]}, {"label": 0, "p": [1, 0]}],
        ),
    ],
)  # fmt: skip
def test_json_has_one_element_a_row(output: Any, expected: list[Any]) -> None:
    assert json.loads(encode(output, JSON)) == {"predictions": expected}
    lines = encode(output, JSON_LINES).decode().splitlines()
    assert [json.loads(line) for line in lines] == [{"prediction": one} for one in expected]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (np.array([1, 0]), "1\n0\n"),
        (np.array([0.1, 0.5], dtype=np.float32), "0.1\n0.5\n"),
        (np.array([[0.1, 0.9], [0.5, 0.5]], dtype=np.float32), "0.1,0.9\n0.5,0.5\n"),
        (np.array([np.nan, 1.5, np.inf]), "nan\n1.5\ninf\n"),
        (np.array([True]), "True\n"),
        (np.array(["a,b", 'c"d']), '"a,b"\n"c""d"\n'),
        ({"a": np.array([1]), "b": np.array([[0.5, "x"]], dtype=object)}, "1,0.5,x\n"),
        (objects({"x": 0.5}), '"{""x"":0.5}"\n'),
        (np.array([[[1, 2], [3, 4]]]), "1,2,3,4\n"),
    ],
)
def test_csv_has_one_line_a_row(output: Any, text: str) -> None:
    assert encode(output, CSV).decode() == text


def test_npy_is_the_array() -> None:
    for array in (np.array([[0.5, np.nan]], dtype=np.float32), np.array([1, 2])):
        loaded = np.load(io.BytesIO(encode(array, NPY)), allow_pickle=False)
        assert loaded.dtype == array.dtype
        np.testing.assert_array_equal(loaded, array)


def test_texts_fit_into_npy() -> None:
    assert np.load(io.BytesIO(encode(objects("a", "bc"), NPY))).tolist() == ["a", "bc"]


@pytest.mark.parametrize("output", [{"a": np.array([1])}, objects({"a": 1}), objects(1, "a")])
def test_what_does_not_fit_into_npy_is_not_acceptable(output: Any) -> None:
    with pytest.raises(NotAcceptable, match="accept application/json"):
        encode(output, NPY)


FLOATS = arrays.arrays(np.float32, st.integers(1, 120), elements=st.floats(width=32))
USUAL = arrays.arrays(
    np.float32, st.integers(1, 120), elements=st.floats(-999_999, 999_999, width=32)
)


@settings(max_examples=200, deadline=None)
@given(FLOATS | USUAL)
@example(
    np.array([1e-45, 3.4028235e38, 1e-12, 1e12, 9.9999999e11, 16777216, 0.1, -0.0] * 8, np.float32)
)
def test_a_float32_is_written_as_its_shortest_text(array: Any) -> None:
    expected = [float(str(value)) for value in array]
    np.testing.assert_array_equal(shortest(array), expected)
    np.testing.assert_array_equal(shortest(array).astype(np.float32), array)


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 3)), elements=st.floats())
)
def test_numbers_survive_csv(array: Any) -> None:
    rows = list(csv.reader(io.StringIO(encode(array, CSV).decode())))
    np.testing.assert_array_equal(np.array(rows, dtype=np.float64), array)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.booleans())
def test_each_member_of_a_merged_batch_gets_its_own_rows(counts: list[int], named: bool) -> None:
    rows = np.arange(sum(counts))
    pieces = split({"a": rows, "b": -rows} if named else rows, counts)
    found = [piece["a"] if isinstance(piece, dict) else piece for piece in pieces]
    assert [len(piece) for piece in found] == counts
    assert np.concatenate(found).tolist() == rows.tolist()


@pytest.mark.parametrize(
    "output",
    [
        np.zeros(4),
        np.zeros(2),
        np.array(1.5),
        {"a": np.zeros(3), "b": np.zeros(4)},
        np.zeros((1, 3)),
    ],
)
def test_a_model_that_answers_another_number_of_rows_is_at_fault(output: Any) -> None:
    for counts in ([3], [1, 2]):
        with pytest.raises(WrongOutput, match=r"answered \d elements for 3 rows"):
            split(output, counts)
