"""What one built-in container hands to the next, as an array or as text: the next one reads the same numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.frameworks import answers, between, bodies
from modelyard.frameworks.model import Array

SHAPES = st.one_of(
    st.tuples(st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 5)),
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)),
)
TYPES = st.sampled_from(["<f4", "<f8", "<i8", "<i4", "|u1", "<u8"])


@settings(max_examples=100, deadline=None)
@given(TYPES.flatmap(lambda kind: arrays.arrays(np.dtype(kind), SHAPES)))
def test_an_array_is_read_as_its_csv_would_be(output: Array) -> None:
    content_type, body = between.encode(output)
    assert content_type == answers.NPY or output.dtype.itemsize == 8
    found = bodies.decode(body, content_type).array
    expected = bodies.decode(answers.encode(output, answers.CSV), answers.CSV).array
    assert found is not None and expected is not None
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_several_outputs_are_columns_side_by_side() -> None:
    output = {"label": np.array([1, 2]), "scores": np.array([[0.1, 0.9], [0.7, 0.3]], np.float32)}
    _, body = between.encode(output)
    found = bodies.decode(body, answers.NPY).array
    assert found is not None
    assert found.tolist() == [[1.0, 0.1, 0.9], [2.0, 0.7, 0.3]]


@pytest.mark.parametrize(
    "output",
    [
        np.array(["setosa", "virginica"]),
        np.array(["a", 1.5], dtype=object),
        np.array([True, False]),
        np.array([0.1], np.float16),
    ],
)
def test_what_is_no_number_goes_as_text(output: np.ndarray[Any, Any]) -> None:
    content_type, body = between.encode(output)
    assert (content_type, body) == (answers.CSV, answers.encode(output, answers.CSV))
