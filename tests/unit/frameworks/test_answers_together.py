"""Answers that become text in one pass are, byte for byte, what each would have been alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.frameworks import answers

DTYPES = st.sampled_from([np.float32, np.float64, np.int64])


@given(st.data(), DTYPES, st.lists(st.integers(1, 9), min_size=2, max_size=20), st.integers(0, 4))
def test_together_is_as_alone(
    data: st.DataObject, dtype: type, counts: list[int], width: int
) -> None:
    rows = sum(counts)
    shape = (rows, width) if width else (rows,)
    output = data.draw(arrays.arrays(dtype, shape))
    together = answers.encode_together(output, counts, [answers.JSON] * len(counts))
    alone = [answers.encode(piece, answers.JSON) for piece in answers.split(output, counts)]
    assert together == alone


def test_other_types_and_outputs_go_one_by_one() -> None:
    numbers = np.zeros((2, 1), np.float32)
    assert answers.encode_together(numbers, [1, 1], [answers.JSON, answers.CSV]) is None
    assert answers.encode_together({"a": numbers}, [1, 1], [answers.JSON] * 2) is None
    words = np.array(["a", "b"], dtype=object)
    assert answers.encode_together(words, [1, 1], [answers.JSON] * 2) is None
