"""Frames survive any cutting of the byte stream, and nothing else passes as a frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.transport import frames


@given(
    bodies=st.lists(st.binary(max_size=200), max_size=8),
    cuts=st.lists(st.integers(1, 40), min_size=1),
)
def test_frames_survive_any_cutting_of_the_stream(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(
        frames.encode_frame(frames.REQUEST, number, number=7, flags=frames.SOLO, body=body)
        for number, body in enumerate(bodies)
    )
    decoder = frames.FrameDecoder(limit=1000)
    seen: list[frames.Frame] = []
    position = turn = 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        seen.extend(decoder.feed(stream[position : position + step]))
        position, turn = position + step, turn + 1
    assert [(frame.id, frame.body, frame.flags) for frame in seen] == [
        (number, body, frames.SOLO) for number, body in enumerate(bodies)
    ]


def test_metas_come_back_as_they_went() -> None:
    meta = frames.RequestMeta(content_type="text/csv", accept="application/json", trace="t")
    assert frames.decode_request_meta(frames.encode_meta(meta)) == meta
    answer = frames.AnswerMeta(content_type="text/csv")
    assert frames.decode_answer_meta(frames.encode_meta(answer)) == answer
    hello = frames.Hello("w", 64, 1000)
    assert frames.decode_hello(frames.encode_meta(hello)) == hello


def test_a_frame_over_the_limit_is_refused_before_it_is_held() -> None:
    frame = frames.encode_frame(frames.REQUEST, 1, body=b"x" * 100)
    with pytest.raises(frames.FrameError, match="limit 50"):
        list(frames.FrameDecoder(limit=50).feed(frame[:30]))


def test_another_version_is_refused() -> None:
    frame = bytearray(frames.encode_frame(frames.REQUEST, 1))
    frame[4] = 9
    with pytest.raises(frames.FrameError, match="version 9"):
        list(frames.FrameDecoder(limit=50).feed(bytes(frame)))
