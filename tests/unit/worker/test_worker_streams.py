"""Answers in parts, step by step: room, turns, time, and each stream's one end."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from modelyard.frameworks.service import Ask, Reply
from modelyard.testing.clock import ManualClock
from modelyard.transport import frames
from modelyard.worker.predictor import Answer, Request
from modelyard.worker.scripted import ScriptedPredictor
from modelyard.worker.streams import Pieces, Streams

META = frames.AnswerMeta("text/plain")
END = Answer(200, "", b"", is_own_status=True)


@dataclass(eq=False)
class Reader:
    is_open: bool = True
    is_clogged: bool = False


class Yields:
    """Pieces of one size for ever, or until it has given so many."""

    def __init__(self, size: int, count: int = 1 << 30, end: Answer = END) -> None:
        self.size, self.count, self.end = size, count, end
        self.given = 0
        self.is_closed = False

    def next(self) -> bytes | Answer:
        if self.given == self.count:
            return self.end
        self.given += 1
        return b"x" * self.size

    def close(self) -> None:
        self.is_closed = True


def read(encoded: bytes) -> list[frames.Frame]:
    return list(frames.FrameDecoder(limit=1 << 30).feed(encoded))


def kinds(streams: Streams[Reader], now: float = 0.0) -> list[tuple[int, int, int]]:
    found = [frame for _, encoded in streams.step(now) for frame in read(encoded)]
    return [(frame.kind, frame.id, frame.number) for frame in found]


def started(*pieces: Pieces, expires: float = 10.0) -> tuple[Streams[Reader], Reader]:
    streams: Streams[Reader] = Streams()
    reader = Reader()
    for number, one in enumerate(pieces):
        streams.start(reader, number, one, META, expires)
    return streams, reader


def test_streams_take_turns_and_end_with_an_answer() -> None:
    streams, _ = started(Yields(1, 1), Yields(1, 2))
    assert kinds(streams) == [(frames.PART, 0, 0), (frames.PART, 1, 0)]
    assert kinds(streams) == [(frames.ANSWER, 0, 200), (frames.PART, 1, 0)]
    assert kinds(streams) == [(frames.ANSWER, 1, 200)]
    assert not streams.active


def test_a_model_is_not_asked_beyond_its_readers_room() -> None:
    model = Yields(10_000)
    streams, reader = started(model)
    while streams.are_runnable:
        list(streams.step(0.0))
    given = model.given
    assert given == -(-frames.STREAM_WINDOW // (10_000 + frames.PART_WEIGHT))
    assert kinds(streams) == []
    streams.credit(reader, 0, 20_000)
    while streams.are_runnable:
        list(streams.step(0.0))
    assert given < model.given <= given + 3


def test_empty_pieces_do_not_run_for_ever_without_their_reader() -> None:
    streams, _ = started(Yields(1))
    parts = 0
    while streams.are_runnable:
        parts += len(kinds(streams))
    assert parts <= frames.STREAM_WINDOW / frames.PART_WEIGHT


def test_a_large_piece_goes_in_several_frames() -> None:
    streams, _ = started(Yields(frames.PART_BYTES * 2 + 1, 1))
    ((_, encoded),) = streams.step(0.0)
    assert [len(one.body) for one in read(encoded)] == [frames.PART_BYTES, frames.PART_BYTES, 1]


def test_a_clogged_peer_is_not_predicted_for_and_time_ends_its_stream() -> None:
    model = Yields(1)
    streams, reader = started(model)
    reader.is_clogged = True
    assert not streams.are_runnable
    assert streams.next_expiry == 10.0
    assert kinds(streams, now=10.0) == [(frames.ANSWER, 0, 408)]
    assert model.is_closed


def test_leaving_ends_the_model_and_is_answered() -> None:
    one, other = Yields(1), Yields(1)
    streams, reader = started(one, other)
    (frame,) = read(streams.cancel(reader, 0))
    assert (frame.kind, frame.id, frame.number) == (frames.ANSWER, 0, 499)
    assert streams.cancel(reader, 0) == b""
    assert one.is_closed and not other.is_closed
    streams.forget(reader)
    assert other.is_closed and not streams.active


def test_a_stopping_worker_ends_every_stream() -> None:
    streams, _ = started(Yields(1), Yields(1))
    found = [read(encoded)[0].number for _, encoded in streams.stop()]
    assert found == [500, 500]


class Script:
    """A service whose body says what it yields."""

    max_batch = 1
    seconds = 0.0
    closed = 0

    def answer(self, ask: Ask) -> Reply:
        status = 409 if ask.body == b"error" else 200
        return Reply(body=b"", content_type="text/x", status=status, pieces=self.pieces(ask.body))

    def pieces(self, asked: bytes) -> Iterator[bytes]:
        try:
            yield b"one,"
            if asked == b"fail":
                raise ValueError("broken")
            if asked == b"exit":
                raise SystemExit(2)
            yield b"two" * (10 if asked == b"long" else 1)
        finally:
            self.closed += 1
            if asked == b"stubborn":
                raise RuntimeError("will not close")

    def answer_together(self, asks: object) -> list[Reply | Exception]:
        raise AssertionError("one at a time")


def answered(body: bytes, *, streams: bool) -> Answer:
    predictor = ScriptedPredictor(Script(), seconds=60, answer_bytes=20)
    (found,) = predictor.answer([Request(body, "", "", streams=streams)])
    return found


def drained(pieces: Pieces | None) -> list[bytes | Answer]:
    assert pieces is not None
    found: list[bytes | Answer] = []
    while not found or isinstance(found[-1], bytes):
        found.append(pieces.next())
    return found


def test_a_script_yields_to_who_takes_parts() -> None:
    answer = answered(b"", streams=True)
    assert (answer.status, answer.content_type) == (200, "text/x")
    assert drained(answer.pieces) == [b"one,", b"two", END]


def test_for_others_its_pieces_are_joined() -> None:
    answer = answered(b"", streams=False)
    assert (answer.status, answer.body, answer.pieces) == (200, b"one,two", None)
    long = answered(b"long", streams=False)
    assert (long.status, long.body) == (
        500,
        b"The answer has more than 20 bytes, which is the limit.",
    )


@pytest.mark.parametrize("piece", [b"", b"."])
def test_a_script_that_yields_without_an_end_keeps_nobody_else_waiting_for_ever(
    piece: bytes,
) -> None:
    clock = ManualClock()

    class Endless(Script):
        def pieces(self, asked: bytes) -> Iterator[bytes]:
            for _ in range(100):
                clock.advance(1.0)
                yield piece
            raise AssertionError("nobody waits for it any more")

    predictor = ScriptedPredictor(Endless(), seconds=60, answer_bytes=100, now=clock.monotonic)
    (answer,) = predictor.answer([Request(b"", "", "")])
    assert (answer.status, answer.is_own_status) == (408, False)
    assert clock.monotonic() == 60.0


def test_an_error_status_is_never_streamed() -> None:
    answer = answered(b"error", streams=True)
    assert (answer.status, answer.body, answer.pieces) == (409, b"one,two", None)


@pytest.mark.parametrize(
    ("asked", "said"), [(b"fail", b"ValueError: broken"), (b"exit", b"sys.exit")]
)
def test_what_a_script_raises_is_how_its_stream_ends(
    asked: bytes, said: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = drained(answered(asked, streams=True).pieces)
    assert first == b"one,"
    assert isinstance(last, Answer) and last.status == 500 and said in last.body
    joined = answered(asked, streams=False)
    assert joined.status == 500 and said in joined.body
    capsys.readouterr()


def test_closing_runs_a_scripts_finally_and_survives_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pieces = answered(b"stubborn", streams=True).pieces
    assert pieces is not None and pieces.next() == b"one,"
    pieces.close()
    assert "will not close" in capsys.readouterr().err
