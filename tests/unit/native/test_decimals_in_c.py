"""Answers that C writes are, byte for byte, those of Python."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard import native
from modelyard.frameworks import answers
from modelyard.frameworks.model import Array

pytestmark = pytest.mark.skipif(native.part("predictions") is None, reason="no C was built")
COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=12)
ANY_BITS = arrays.arrays(np.uint32, st.integers(0, 60)).map(lambda bits: bits.view(np.float32))
ORDINARY = arrays.arrays(np.float32, st.integers(0, 60), elements=st.floats(-1e7, 1e7, width=32))
encode = msgspec.json.Encoder().encode


def one_by_one(array: Array) -> list[Any]:
    """Each float32 as numpy writes it."""
    if array.ndim > 1:
        return [one_by_one(row) for row in array]
    return [float(str(value)) for value in array]


def alone(rows: list[Any], counts: list[int]) -> list[bytes]:
    found, begin = [], 0
    for count in counts:
        found.append(encode({"predictions": rows[begin : begin + count]}))
        begin += count
    return found


def together(output: Array, counts: list[int]) -> list[bytes] | None:
    return answers.encode_together(output, counts, [answers.JSON] * len(counts))


@given(ANY_BITS | ORDINARY)
def test_any_float32_is_written_with_the_shortest_text(values: Array) -> None:
    assert together(values, [len(values)]) == alone(one_by_one(values), [len(values)])


def test_so_are_powers_of_two_and_ten_and_their_neighbours() -> None:
    with np.errstate(all="ignore"):
        twos = np.ldexp(np.float32(1), np.arange(-149, 128)).astype(np.float32)
        tens = np.array([float(f"1e{power}") for power in range(-45, 39)], dtype=np.float32)
        edges = np.concatenate([twos, tens, np.float32([0, np.nan, np.inf])])
        sides = [np.nextafter(edges, np.float32(side)) for side in (np.inf, 0)]
    values = np.concatenate([edges, -edges, *sides]).astype(np.float32)
    assert together(values, [len(values)]) == alone(one_by_one(values), [len(values)])


@given(st.data(), COUNTS, st.integers(0, 3))
def test_rows_go_to_their_owners(data: st.DataObject, counts: list[int], width: int) -> None:
    rows = sum(counts)
    shape = data.draw(st.sampled_from([(rows, width), (rows,)]))
    values = data.draw(arrays.arrays(np.float32, shape))
    assert together(values, counts) == alone(one_by_one(values), counts)


@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=9), st.integers(0, 3))
def test_lines_are_those_of_csv(data: st.DataObject, counts: list[int], width: int) -> None:
    rows = sum(counts)
    shape = data.draw(st.sampled_from([(rows, width), (rows,)]))
    values = data.draw(arrays.arrays(np.float32, shape))
    found = answers.lines(values, counts)
    assert (found is None) == (not values.size or not np.isfinite(values).all())
    if found is not None:
        assert found == [
            answers.encode(piece, answers.CSV) for piece in answers.split(values, counts)
        ]


@given(st.data(), COUNTS, st.sampled_from([np.float64, np.int64, np.uint8, ">f8"]))
def test_so_they_do_where_msgspec_writes_them(
    data: st.DataObject, counts: list[int], dtype: Any
) -> None:
    rows = sum(counts)
    shape = data.draw(st.sampled_from([(rows,), (rows, 2), (rows, 0), (rows, 2, 2)]))
    values = data.draw(arrays.arrays(dtype, shape))
    assert together(values, counts) == alone(values.tolist(), counts)


def test_what_is_not_contiguous_is_written_all_the_same() -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 4)[:, ::2]
    assert together(values, [2, 4]) == alone(values.tolist(), [2, 4])


def test_wrong_arguments_are_refused_and_do_no_harm() -> None:
    predictions: Callable[..., Any] = native.part("predictions")
    values = np.zeros(3, np.float32)
    for counts in ([-1, 4], ["a"], [2**62, 2**62]):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            predictions(values, counts, float)
    assert predictions(values, [2], float) is None
    with pytest.raises(TypeError):
        predictions(np.float32([np.nan]), [1], float)
