"""Parquet bodies: named columns of numbers and texts."""

import io
from typing import Any

import numpy as np
import pytest

from modelyard.frameworks import bodies, parquet
from modelyard.frameworks.bodies import BodyError

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is of the extra columns")


def written(columns: Any) -> bytes:
    import pyarrow.parquet as files

    buffer = io.BytesIO()
    files.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def test_columns_keep_their_names_and_null_is_nan() -> None:
    body = written(
        {"a": [1, None, 3], "b": [0.5, 1.5, 2.5], "c": ["x", "y", None], "d": [True, False, True]}
    )
    for content_type in parquet.CONTENT_TYPES:
        columns = bodies.decode(body, content_type).columns
        assert columns is not None and list(columns) == ["a", "b", "c", "d"]
        np.testing.assert_array_equal(columns["a"], [1, np.nan, 3])
        assert columns["b"].dtype == np.float64 and columns["d"].tolist() == [1.0, 0.0, 1.0]
        assert columns["c"].tolist() == ["x", "y", None]


def test_dictionaries_are_their_values() -> None:
    column = pyarrow.array(["x", "y", "x"]).dictionary_encode()
    columns = parquet.decode(written({"kind": column})).columns
    assert columns is not None and columns["kind"].tolist() == ["x", "y", "x"]


def test_what_is_no_table_of_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BodyError, match="no Parquet file"):
        parquet.decode(b"PAR1 not really PAR1")
    with pytest.raises(BodyError, match="'a' is of type list"):
        parquet.decode(written({"a": [[1, 2], [3]]}))
    with pytest.raises(BodyError, match="no rows"):
        parquet.decode(written({"a": pyarrow.array([], pyarrow.int64())}))
    monkeypatch.setattr(parquet, "CELLS_LIMIT", 5)
    with pytest.raises(BodyError, match="limits are"):
        parquet.decode(written({"a": range(6)}))
