"""Requests to a model that reads and writes bodies by itself: each its own answer, whatever the others do."""

import signal
from collections.abc import Sequence

import pytest

from modelyard.frameworks.service import Ask, Refusal, Reply
from modelyard.worker.predictor import Request
from modelyard.worker.scripted import ScriptedPredictor


class Echo:
    """Answers what it is asked, in capitals; some words do something else."""

    def __init__(self, *, max_batch: int = 1, seconds: float = 0.0) -> None:
        self.max_batch = max_batch
        self.seconds = seconds
        self.sizes: list[int] = []

    def answer(self, ask: Ask) -> Reply:
        match ask.body:
            case b"refuse":
                raise Refusal("not that", status=406)
            case b"exit":
                raise SystemExit(3)
            case b"fail":
                raise KeyError("what")
            case b"busy":
                return Reply(body=b"later", content_type="text/x", status=429)
            case b"timer":
                seconds = signal.getitimer(signal.ITIMER_REAL)[0]
                return Reply(body=f"{seconds:.0f}".encode(), content_type="")
        return Reply(
            body=ask.body.upper(), content_type="text/x", custom_attributes=ask.custom_attributes
        )

    def answer_together(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        self.sizes.append(len(asks))
        if any(ask.body == b"poison" for ask in asks):
            raise ValueError("poison")
        return [Refusal("one") if ask.body == b"refuse" else self.answer(ask) for ask in asks]


def answers(service: Echo, *bodies: bytes) -> list[tuple[int, bytes]]:
    predictor = ScriptedPredictor(service, seconds=60, answer_bytes=20)
    requests = [Request(body, "text/plain", "", "attributes") for body in bodies]
    return [(one.status, one.body) for one in predictor.answer(requests)]


def test_one_error_is_one_callers(capsys: pytest.CaptureFixture[str]) -> None:
    found = answers(Echo(), b"a", b"refuse", b"fail", b"exit", b"busy", b"x" * 21, b"b")
    assert found[:3] == [(200, b"A"), (406, b"not that"), (500, b"KeyError: 'what'")]
    assert found[3] == (500, b"The script called sys.exit(3) instead of answering.")
    assert found[4:] == [
        (429, b"later"),
        (500, b"The answer has 21 bytes, the limit is 20."),
        (200, b"B"),
    ]
    assert "Traceback" in capsys.readouterr().err


def test_its_status_is_its_own_and_attributes_pass_through() -> None:
    predictor = ScriptedPredictor(Echo(), seconds=60, answer_bytes=20)
    busy, good = predictor.answer([Request(b"busy", "", ""), Request(b"a", "", "", "mine")])
    assert busy.is_own_status
    assert good.custom_attributes == "mine"


@pytest.mark.parametrize(("own", "limit"), [(0.0, b"65"), (7.0, b"12"), (600.0, b"65")])
def test_the_shorter_limit_holds(own: float, limit: bytes) -> None:
    assert answers(Echo(seconds=own), b"timer") == [(200, limit)]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_what_fails_together_is_tried_one_by_one() -> None:
    service = Echo(max_batch=8)
    assert answers(service, b"a", b"poison", b"refuse") == [
        (200, b"A"), (500, b"ValueError: poison"), (400, b"one"),
    ]  # fmt: skip
    assert service.sizes == [3, 1, 1, 1]
