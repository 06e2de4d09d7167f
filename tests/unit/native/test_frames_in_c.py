"""Frames that C decodes are those that Python decodes, whatever the bytes and however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import native
from modelyard.transport import frames

pytestmark = pytest.mark.skipif(native.part("FrameDecoder") is None, reason="no C was built")
LIMIT = 300
GOOD = st.builds(
    frames.encode_frame,
    st.integers(1, 7),
    st.integers(0, 2**64 - 1),
    number=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 2**16 - 1),
    meta=st.binary(max_size=20),
    body=st.binary(max_size=200),
)
BAD = st.one_of(
    st.binary(max_size=40),
    st.binary(min_size=290, max_size=400).map(lambda body: frames.encode_frame(1, 1, body=body)),
    GOOD.map(lambda frame: frame[:4] + b"\x02" + frame[5:]),
    GOOD.map(lambda frame: frame[:20] + b"\xff\xff\x00\x00" + frame[24:]),
)
Decoder = frames.FrameDecoder | frames.PlainFrameDecoder


def read(decoder: Decoder, pieces: list[bytes]) -> tuple[list[tuple[object, ...]], str]:
    """What came, and the error that ended it."""
    found: list[tuple[object, ...]] = []
    try:
        for piece in pieces:
            found.extend(
                (one.kind, one.flags, one.id, one.number, one.meta, one.body)
                for one in decoder.feed(piece)
            )
    except frames.FrameError as error:
        return found, str(error)
    return found, ""


@given(st.lists(GOOD | BAD, max_size=6), st.lists(st.integers(1, 90), min_size=1))
def test_c_and_python_read_the_same_from_any_bytes_in_any_pieces(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    pieces, position = [], 0
    while position < len(stream):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(stream[position : position + size])
        position += size
    quick, plain = frames.FrameDecoder(limit=LIMIT), frames.PlainFrameDecoder(limit=LIMIT)
    assert read(quick, pieces) == read(plain, pieces)


def test_a_decoder_goes_on_complaining_of_the_bad_frame() -> None:
    good = frames.encode_frame(frames.REQUEST, 7, body=b"x")
    for decoder in (frames.FrameDecoder(limit=LIMIT), frames.PlainFrameDecoder(limit=LIMIT)):
        found, text = read(decoder, [good + b"\x14\x00\x00\x00\x09" + bytes(19)])
        assert (len(found), text) == (1, "frame version 9, expected 1")
        assert read(decoder, [b"more"]) == ([], "frame version 9, expected 1")


def test_a_frame_of_c_is_a_value_like_that_of_python() -> None:
    one = frames.Frame(frames.ANSWER, 2, 2**64 - 1, 200, b"m", b"b")
    assert one == frames.Frame(
        kind=frames.ANSWER, flags=2, id=2**64 - 1, number=200, meta=b"m", body=b"b"
    )
    assert one != frames.Frame(frames.ANSWER, 2, 1, 200, b"m", b"b")
    assert (one == 1) is False
    plain = frames.PlainFrame(frames.ANSWER, 2, 2**64 - 1, 200, b"m", b"b")
    assert repr(one) == repr(plain).removeprefix("Plain")
    with pytest.raises(AttributeError):
        one.id = 3  # type: ignore[misc]


def test_metas_that_are_alike_are_one_object() -> None:
    frame = frames.encode_frame(frames.REQUEST, 7, meta=b"a meta of some length", body=b"x")
    one, two = frames.FrameDecoder(limit=LIMIT).feed(frame * 2)
    assert one.meta is two.meta


def test_what_is_no_bytes_is_refused() -> None:
    with pytest.raises(TypeError):
        frames.FrameDecoder(limit=1).feed("text")  # type: ignore[arg-type]
