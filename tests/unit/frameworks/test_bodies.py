"""Request bodies: what becomes a batch, what is refused where, and that nothing else is ever raised."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.frameworks.batch import Batch, merge
from modelyard.frameworks.bodies import BodyError, decode

JSON, CSV, LINES, NPY = "application/json", "text/csv", "application/jsonlines", "application/x-npy"
NAN = float("nan")


def table(body: bytes | str, content_type: str) -> list[Any]:
    array = batch(body, content_type).array
    assert array is not None
    return array.tolist()  # type: ignore[no-any-return]


def batch(body: bytes | str, content_type: str) -> Batch:
    return decode(body.encode() if isinstance(body, str) else body, content_type)


def columns(body: str, content_type: str = JSON) -> dict[str, list[Any]]:
    found = batch(body, content_type).columns
    assert found is not None
    return {name: column.tolist() for name, column in found.items()}


def refusal(body: bytes | str, content_type: str) -> BodyError:
    with pytest.raises(BodyError) as caught:
        batch(body, content_type)
    return caught.value


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ('{"instances": [[1, 2], [3, 4]]}', [[1, 2], [3, 4]]),
        ('{"inputs": [[1, 2]]}', [[1, 2]]),
        ("[[1, 2], [3, 4.5]]", [[1, 2], [3, 4.5]]),
        ("[1, 2, 3]", [[1, 2, 3]]),
        ('{"instances": [1, 2, 3]}', [[1, 2, 3]]),
        ("[[true, false]]", [[1, 0]]),
        ("[[[1], [2]]]", [[[1], [2]]]),
        ('[["red", 1.5, 2]]', [["red", 1.5, 2]]),
        ('{"instances": ["a text", "another"]}', [["a text"], ["another"]]),
        ('["red", "small"]', [["red", "small"]]),
        ('{"signature_name": "x", "instances": [[1]]}', [[1]]),
        ('{"dataframe_split": {"data": [[1, 2]]}}', [[1, 2]]),
        ("\n [[1]] \n", [[1]]),
        ("[[9007199254740993]]", [[9007199254740993]]),
        ("[[123456789012345678901234567890]]", [[1.2345678901234568e29]]),
    ],
)
def test_json_rows(body: str, rows: list[Any]) -> None:
    assert table(body, JSON) == rows


@pytest.mark.parametrize("body", ["[[1, null]]", '{"instances": [[1, null]]}'])
def test_null_among_numbers_is_nan(body: str) -> None:
    array = batch(body, JSON).array
    assert array is not None
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, [[1, NAN]])


def test_null_among_texts_stays_null() -> None:
    assert table('[["a", null, 1]]', JSON) == [["a", None, 1]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"instances": [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]}', {"a": [1, 2], "b": ["x", "y"]}),
        ('[{"a": [1, 2]}]', {"a": [[1, 2]]}),
        (
            '{"inputs": {"ids": [[1], [2]], "mask": [[0], [1]]}}',
            {"ids": [[1], [2]], "mask": [[0], [1]]},
        ),
        ('{"dataframe_records": [{"a": 1}]}', {"a": [1]}),
        (
            '{"dataframe_split": {"index": [0, 1], "columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}}',
            {"a": [1, 2], "b": ["x", "y"]},
        ),
    ],
)
def test_named_columns(body: str, expected: dict[str, Any]) -> None:
    assert columns(body) == expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("[[1, 2", "not JSON"),
        ("[[NaN]]", "byte 2"),
        ("nonsense", "not JSON"),
        (b"[[\xff]]", "not JSON"),
        ("5", "a list of rows, not a number"),
        ('"text"', "a list of rows, not a string"),
        ("null", "a list of rows, not null"),
        ("{}", 'none of "instances"'),
        ('{"data": [[1]]}', 'none of "instances"'),
        ('{"instances": 5}', "instances has to be a list of rows"),
        ("[]", "no rows"),
        ("[[]]", "no values"),
        ("[{}]", "no members"),
        ("[[1, 2], [3]]", "Row 2 of the body has 1 values, row 1 has 2"),
        ("[[1, 2], 3]", "Row 2 of the body"),
        ("[1, [2]]", "Row 1 of the body"),
        ('[[{"a": 1}]]', "an object where a value"),
        ('[{"a": 1}, {"b": 1}]', "Record 2 does not have the members of record 1: a"),
        ('[{"a": 1}, 5]', "Record 2"),
        ('{"inputs": {"a": 5}}', "'a' has to be a list"),
        ('{"inputs": {"a": [1], "b": [1, 2]}}', "different numbers of rows"),
        ('{"inputs": {"a": []}}', "no rows"),
        ('{"inputs": {}}', "no rows"),
        ('{"dataframe_split": []}', '"dataframe_split" needs "data"'),
        ('{"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}', "Row 2 of dataframe_split"),
        ('{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}', "different names"),
        ('{"dataframe_split": {"columns": ["a"], "data": []}}', "no rows"),
        ("[" * 100_000, "too deeply"),
        ("[" * 70 + "1" + "]" * 70, "not of one shape"),
    ],
)  # fmt: skip
def test_what_is_no_batch_of_json_is_refused_with_its_place(body: bytes | str, text: str) -> None:
    error = refusal(body, JSON)
    assert error.status == 400
    assert text in error.message


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("1,2.5", [[1, 2.5]]),
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1,2\r\n3,4\r\n\r\n", [[1, 2], [3, 4]]),
        ("\ufeff1,2\n", [[1, 2]]),
        ("+1, .5,-2e3, 007", [[1, 0.5, -2000, 7]]),
        ("1\n2\n", [[1], [2]]),
        ('"1","2"\n', [[1, 2]]),
        ("red,1.5\nblue,2\n", [["red", 1.5], ["blue", 2]]),
        ('"a ""b"", c",1', [['a "b", c', 1]]),
        ('"two\nlines",1', [["two\nlines", 1]]),
        ("1_000,2", [["1_000", 2]]),
        ("[1,2]", [["[1", "2]"]]),
        ("null,true", [["null", "true"]]),
        ("9007199254740993,1", [[9007199254740993, 1]]),
        ("9007199254740993,1.5", [[9007199254740992.0, 1.5]]),
        ("é", [["é"]]),
    ],
)
def test_csv_rows(body: str, rows: list[Any]) -> None:
    assert table(body, CSV) == rows


def test_empty_cells_and_nan_among_numbers_are_nan() -> None:
    np.testing.assert_array_equal(
        batch("1,,3\nnan,inf, ", CSV).array, [[1, NAN, 3], [NAN, np.inf, NAN]]
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "empty"),
        ("\r\n\r\n", "empty"),
        ("1,2\n3\n", "Line 2 of the CSV has 1 values, the first has 2"),
        ("1,2\n3,4,5", "Line 2 of the CSV has 3 values"),
        ('"a\nb",2\n3\n', "Line 3 of the CSV has 1 values"),
        ("1,2\n\n3,4", "Line 2 of the CSV is empty"),
        ('a,"b', "Line 1 is not CSV"),
        ('"a"b,1', "Line 1 is not CSV"),
        (b"\xff\xfe1", "not UTF-8"),
        (b"x" * 200_000, "field larger"),
    ],
)
def test_what_is_no_csv_is_refused_with_its_line(body: bytes | str, text: str) -> None:
    error = refusal(body, CSV)
    assert error.status == 400
    assert text in error.message


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("[1, 2]\n[3, 4]\n", [[1, 2], [3, 4]]),
        ("[1, 2]\r\n\r\n[3, 4]", [[1, 2], [3, 4]]),
        ('{"features": [1, 2]}\n{"features": [3, 4]}', [[1, 2], [3, 4]]),
        ("1\n2\n3", [[1], [2], [3]]),
        ('"a text"\n"another"', [["a text"], ["another"]]),
    ],
)
def test_json_lines_are_a_row_a_line(body: str, rows: list[Any]) -> None:
    assert table(body, LINES) == rows


def test_json_lines_may_be_records() -> None:
    assert columns('{"a": 1, "b": 2}\n{"a": 3, "b": 4}', LINES) == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("body", "text"),
    [("[1]\n[2\n[3]", "Line 2 is not JSON"), ("[1]\n[2, 3]", "Row 2"), ("\n", "empty")],
)
def test_what_is_no_json_lines_is_refused_with_its_line(body: str, text: str) -> None:
    assert text in refusal(body, LINES).message


@pytest.mark.parametrize(
    ("array", "rows"),
    [
        ([[1.5, 2]], [[1.5, 2]]),
        (np.array([[1, 2]], dtype=">i4"), [[1, 2]]),
        (np.asfortranarray([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ([1, 2], [[1, 2]]),
        (5, [[5]]),
        ([["a", "b"]], [["a", "b"]]),
        (np.array([[b"a"]]), [["a"]]),
        (np.array([[True]]), [[True]]),
        (np.array([[1.5]], dtype=np.longdouble), [[1.5]]),
    ],
)
def test_npy_arrays(array: Any, rows: list[Any]) -> None:
    assert table(npy(array), NPY) == rows


def test_an_array_from_npy_may_be_written_to() -> None:
    array = batch(npy([[1.0]]), NPY).array
    assert array is not None
    assert array.flags.writeable


def npy_of_shape(shape: str, descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty"),
        (b"not npy", "no .npy array"),
        (npy([[1.0, 2.0]])[:-1], "header tells of 16 bytes, 15 came"),
        (npy([[1.0, 2.0]]) + b"x", "header tells of 16 bytes, 17 came"),
        (npy_of_shape("(1000000000000,)"), "8000000000000 bytes, 0 came"),
        (npy_of_shape("(-1,)") + bytes(8), "shape"),
        (npy_of_shape("(2, -4)") + bytes(8), "shape"),
        (npy_of_shape("(True,)") + bytes(8), "shape"),
        (npy_of_shape("(0, 3)"), "no rows"),
        (npy_of_shape("(1,)", "'<f3'") + bytes(3), "not known"),
        (npy_of_shape("(1,)", "'|O'") + bytes(8), "neither numbers nor text"),
        (npy_of_shape("(1,)", "'<M8[s]'") + bytes(8), "neither numbers nor text"),
        (npy_of_shape("(1,)", "[('a', '<f8')]") + bytes(8), "neither numbers nor text"),
        (npy_of_shape("(1,)", "'<c16'") + bytes(16), "neither numbers nor text"),
        (npy_of_shape("__import__('os')"), "no .npy array"),
        (npy(np.array([[{"a": 1}]], dtype=object), allow_pickle=True), "neither numbers nor text"),
    ],
)
def test_what_is_no_plain_npy_is_refused(body: bytes, text: str) -> None:
    error = refusal(body, NPY)
    assert error.status == 400
    assert text in error.message


def test_an_npz_is_told_from_an_npy() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=[1])
    assert "npz" in refusal(buffer.getvalue(), NPY).message


def test_an_unknown_content_type_is_415_and_says_what_is_known() -> None:
    error = refusal("x", "application/octet-stream")
    assert error.status == 415
    assert "text/csv, application/json, application/jsonlines, application/x-npy" in error.message


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json; charset=utf-8", b"[[1]]"),
        ("Application/JSON;charset=UTF-8", b"[[1]]"),
        ('application/json; charset="utf-16"', "[[1]]".encode("utf-16")),
        ("text/csv; header=absent; charset=latin-1", b"1"),
        ("", b"1"),
        ("application/x-ndjson", b"[1]"),
    ],
)
def test_parameters_of_content_types_are_understood(content_type: str, body: bytes) -> None:
    assert table(body, content_type) == [[1]]


def test_text_in_another_charset_is_read() -> None:
    assert table("é,1".encode("latin-1"), "text/csv; charset=iso-8859-1") == [["é", 1]]


@pytest.mark.parametrize("charset", ["klingon", "zip", "base64", "rot13", "\0", "x" * 10_000])
def test_an_unknown_charset_is_415(charset: str) -> None:
    assert refusal("1", f"text/csv; charset={charset}").status == 415


def test_a_body_that_is_not_of_its_charset_is_400() -> None:
    assert refusal(b"\xff", "application/json; charset=utf-16").status == 400


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["instances", "inputs", "a", "b", "dataframe_split", "columns", "data", "dataframe_records"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)  # fmt: skip
TYPES = st.sampled_from([JSON, CSV, LINES, NPY, "", "text/csv; charset=utf-16"])


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, TYPES)
@example([[1], [[2]]], JSON)
@example({"inputs": {"a": [[]], "b": [[1]]}}, JSON)
def test_any_document_is_a_batch_or_a_body_error(document: Any, content_type: str) -> None:
    for body in (json.dumps(document).encode(), json.dumps([document]).encode()):
        try:
            found = decode(body, content_type)
        except BodyError as error:
            assert error.status in (400, 415)
            assert error.message
        else:
            assert found.rows > 0
            assert hash(found.form) is not None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(',."\r\n1-e[]{}: ', max_size=40).map(str.encode), TYPES)
@example(npy([[1.0]])[:40], NPY)
@example(npy(np.zeros((1, 1), "U1"))[:-4] + b"\xff\xff\xff\xff", NPY)
@example(b"\x93NUMPY\x01\x00\xff\xff", NPY)
@example(b"\x93NUMPY\x03\x00\x06\x00\x00\x00{}    ", NPY)
def test_any_bytes_are_a_batch_or_a_body_error(body: bytes, content_type: str) -> None:
    try:
        assert decode(body, content_type).rows > 0
    except BodyError as error:
        assert error.status in (400, 415)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 127))
def test_any_damage_to_an_npy_header_is_a_body_error_or_an_array(junk: bytes, at: int) -> None:
    body = bytearray(npy([[1.0, 2.0]]))
    body[at : at + len(junk)] = junk
    try:
        assert decode(bytes(body), NPY).rows > 0
    except BodyError as error:
        assert error.status == 400


NUMBERS = st.floats(width=64, allow_nan=False) | st.integers(-(10**15), 10**15)
TABLES = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=6
    )
)


@settings(max_examples=100, deadline=None)
@given(TABLES)
def test_numbers_are_the_same_in_every_form(rows: list[list[float]]) -> None:
    expected = np.array(rows, dtype=np.float64)
    finite = np.isfinite(expected).all()
    csv = "\n".join(",".join(map(repr, row)) for row in rows)
    forms: list[tuple[bytes, str]] = [(csv.encode(), CSV), (npy(expected), NPY)]
    if finite:
        forms.append((json.dumps({"instances": rows}).encode(), JSON))
        forms.append(("\n".join(map(json.dumps, rows)).encode(), LINES))
    for body, content_type in forms:
        array = decode(body, content_type).array
        assert array is not None
        np.testing.assert_array_equal(array.astype(np.float64), expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.booleans())
def test_merged_batches_hold_every_row_in_order(counts: list[int], named: bool) -> None:
    rows = np.arange(sum(counts) * 2, dtype=np.float64).reshape(-1, 2)
    ends = np.cumsum(counts)
    pieces = [rows[end - count : end] for end, count in zip(ends, counts, strict=True)]
    batches = [
        Batch(None, {"a": piece[:, 0], "b": piece[:, 1]}) if named else Batch(piece)
        for piece in pieces
    ]
    assert len({one.form for one in batches}) == 1
    merged = merge(batches)
    assert merged.rows == sum(counts)
    found = merged.array
    if found is None:
        assert merged.columns is not None
        found = np.stack(list(merged.columns.values()), axis=1)
    np.testing.assert_array_equal(found, rows)


def test_batches_of_other_width_type_or_names_have_another_form() -> None:
    forms = {
        decode(body.encode(), JSON).form
        for body in (
            "[[1, 2]]",
            "[[1, 2, 3]]",
            '[["a", 2]]',
            "[[9007199254740993, 2]]",
            "[[[1, 2]]]",
            '[{"a": 1, "b": 2}]',
            '[{"a": 1, "c": 2}]',
            '[{"a": "x", "b": 2}]',
        )
    }
    assert len(forms) == 8


def test_rows_of_whole_and_of_broken_numbers_are_of_one_form() -> None:
    assert batch("[[1, 2]]", JSON).form == batch("[[1.5, 2]]", JSON).form == batch("1,2", CSV).form


MIXED = (
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70) | st.booleans()
)


@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(st.lists(MIXED, min_size=width, max_size=width), min_size=1)
    )
)
def test_rows_with_a_fraction_among_them_are_what_numpy_makes_of_them(rows: Any) -> None:
    rows[0][0] = 0.5
    found = batch(json.dumps(rows), JSON)
    assert found.array is not None
    assert found.array.tolist() == np.array(rows, dtype=np.float64).tolist()
    assert found.form == Batch(found.array).form
    assert found.rows == len(rows)


def test_a_model_may_write_into_rows_that_came_together() -> None:
    merged = merge([batch("[[0.5, 1]]", JSON), batch("2,3.5", CSV)]).array
    assert merged is not None
    merged += 1
    assert merged.tolist() == [[1.5, 2], [3, 4.5]]
