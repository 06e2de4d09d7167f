"""Bodies that C reads mean what they mean to Python; what C does not read, Python is asked."""

import json
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard import native
from modelyard.frameworks import bodies

pytestmark = pytest.mark.skipif(native.part("rows") is None, reason="no C was built")

WHOLE = st.integers(-(2**70), 2**70).map(str)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SHORT = st.builds(
    lambda value, places: f"{value:.{places}f}", st.floats(-1e6, 1e6), st.integers(1, 25)
)
LONG = st.builds(lambda value, places: f"{value:.{places}e}", FLOATS, st.integers(0, 20))
PARTS = st.builds(
    lambda digits, power: f"{digits}e{power}", st.integers(-(10**21), 10**21), st.integers(-45, 30)
)
EDGE_WORDS = """-0 0 -0.0 0e9 1E+2 00 01 1. .5 +1 - 1e 1e+ 0x1 NaN null true 1e400 -1e-400 0.000 1.5e00000002
9007199254740991 9007199254740992 9007199254740993.0 0.30000000000000004 1_0"""
EDGES = st.sampled_from(EDGE_WORDS.split())
NUMBER = st.one_of(
    FLOATS.map(repr), SHORT, st.integers(-99, 99).map(str), WHOLE, LONG, PARTS, EDGES
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r ", "\x0c"])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """JSON that is mostly rows of numbers, with all that may go wrong in it."""
    width = draw(st.integers(0, 4))
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.sampled_from([width, width, width, width + 1]))
        cells = draw(st.lists(NUMBER, min_size=size, max_size=size))
        rows.append(f"[{','.join(draw(SPACE) + cell + draw(SPACE) for cell in cells)}]")
    inner = ",".join(draw(SPACE) + row + draw(SPACE) for row in rows)
    form = draw(
        st.sampled_from(
            ["[%s]", "%s", '{"instances":[%s]}', ' { "inputs" : [%s] } ', '{"instances":%s}', "[[%s]]",
             '{"instances":[%s],"instances":1}', '{"instances":[%s]', '{"other":[%s]}', "[%s]]", "[%s,]"]
        )
    )  # fmt: skip
    text = form.replace("%s", inner)
    cut = draw(st.sampled_from([0, 0, 0, 0, 1]))
    return text[: len(text) - cut].encode()


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """The same as CSV."""
    width = draw(st.integers(0, 4))
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    rows = draw(st.lists(st.lists(NUMBER, min_size=width, max_size=width + 1), max_size=4))
    last = draw(st.sampled_from(["", end, end * 2, "\r\n\r", ",", " "]))
    return (end.join(",".join(row) for row in rows) + last).encode()


def check(body: bytes, content_type: str) -> None:
    found = bodies.decode_together([body], content_type)
    if found is None:
        return
    batch, counts = found
    expected = bodies.decode(body, content_type).array
    assert batch.array is not None
    assert expected is not None
    assert (batch.array.dtype, batch.array.shape) == (expected.dtype, expected.shape)
    assert batch.array.tobytes() == expected.tobytes()  # Zeros with their signs.
    assert counts == [len(expected)]


@given(documents())
@example(b"[[1,2],[3,-0]]")
@example(b"[1,2]")
@example(b"[-0.0, -0]")
def test_json_means_the_same(body: bytes) -> None:
    check(body, "application/json")


@given(tables())
@example(b"1\r2")
@example(b"-0,1e16")
def test_csv_means_the_same(body: bytes) -> None:
    check(body, "text/csv")


@given(st.lists(FLOATS | st.floats(-1e9, 1e9, width=32), min_size=1))
def test_a_number_is_read_to_the_last_bit(values: list[float]) -> None:
    for value in values:
        found = bodies.decode_together([f"[{value!r}]".encode()], "application/json")
        if found is not None:
            assert found[0].array is not None
            assert found[0].array.tobytes() == struct.pack("d", value)


@pytest.mark.parametrize("form", ["%s", '{"instances": %s}', '{"inputs": %s}'])
def test_rows_of_any_precision_are_read_in_c(form: str) -> None:
    random = np.random.default_rng(1)
    rows = [random.normal(size=(size, 3)) * 10.0 ** random.integers(-4, 5) for size in (1, 3, 2)]
    written = [form.replace("%s", json.dumps(one.tolist())).encode() for one in rows]
    found = bodies.decode_together(written, "application/json; charset=utf-8")
    assert found is not None
    batch, counts = found
    assert counts == [1, 3, 2]
    assert batch.array is not None
    assert (batch.array == np.concatenate(rows)).all()
    batch.array[0] = 1  # As into any array.
    lines = [b"\n".join(b"%r,%r,%r" % tuple(row) for row in one.tolist()) for one in rows]
    as_csv = bodies.decode_together(lines, "text/csv")
    assert as_csv is not None
    assert as_csv[1] == counts


@pytest.mark.parametrize(
    ("one", "other", "content_type"),
    [
        (b"[[1.0,2.0]]", b"[[1.0]]", "application/json"),
        (b"[[1.0,2.0]]", b"[[1.0,null]]", "application/json"),
        (b"[[1.0,2.0]]", b"", "application/json"),
        (b"[[1.0,2.0]]", b"[[1.0,2.0]]", "application/json; charset=utf-16"),
        (b"[[1.0,2.0]]", b"[[1.0,2.0]]", "application/jsonlines"),
        (b"1,2", b"1,2\n\n3,4", "text/csv"),
        (b"1,2", b"1, 2", ""),
    ],
)
def test_python_is_asked_for_all_where_one_is_not_plain(
    one: bytes, other: bytes, content_type: str
) -> None:
    assert bodies.decode_together([one, other], content_type) is None


def test_bodies_that_are_no_bytes_are_refused() -> None:
    with pytest.raises(TypeError):
        native.part("rows")(["[1]"], False)
