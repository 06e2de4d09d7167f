"""The queue of asynchronous invocations: order, one outcome each, and what a restart finds."""

from pathlib import Path

import pytest

from modelyard.domain.async_messages import message
from modelyard.store.async_queue import AsyncQueue, Outcome, Queued, QueueFull


def queued(name: str, *, endpoint: str = "e", received_at: float = 1.0) -> Queued:
    return Queued(
        id=name,
        account="1",
        region="r",
        endpoint=endpoint,
        inference_id=f"i-{name}",
        received_at=received_at,
        expires_at=100.0,
        timeout_seconds=5,
        output_location=f"s3://b/{name}.out",
        failure_location=f"s3://b/{name}-error.out",
        body=b"in",
        includes=("SUCCESS_NOTIFICATION_TOPIC",),
    )


def outcome(body: bytes = b"out", *, is_success: bool = True) -> Outcome:
    return Outcome(is_success=is_success, body=body, content_type="t/x", at=2.0, reason="why")


def waiting(queue: AsyncQueue, *besides: str, most: int = 9) -> list[str]:
    return [one.id for one in queue.waiting("1", "r", "e", besides=besides, most=most)]


def decided(queue: AsyncQueue, *besides: str) -> list[tuple[str, bytes]]:
    return [(one.id, end.body) for one, end in queue.decided(besides=besides, most=9)]


def test_requests_wait_in_order_and_those_in_hand_are_left_out(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "q.db", limit=10)
    for name in "abcd":
        queue.add(queued(name))
    queue.add(queued("x", endpoint="other"))
    assert waiting(queue, most=2) == ["a", "b"]
    assert waiting(queue, "a", "c", most=2) == ["b", "d"]
    queue.close()


def test_what_was_kept_is_there_after_a_restart_and_a_second_outcome_is_dropped(
    tmp_path: Path,
) -> None:
    queue = AsyncQueue(tmp_path / "q.db", limit=10)
    queue.add(queued("a"))
    queue.add(queued("b"))
    queue.decide("a", outcome())
    queue.decide("a", outcome(b"of another execution"))
    queue.close()
    again = AsyncQueue(tmp_path / "q.db", limit=10)
    assert waiting(again) == ["b"]
    assert decided(again) == [("a", b"out")]
    assert decided(again, "a") == []
    again.remove("a")
    assert decided(again) == []
    again.clear()
    assert waiting(again) == []
    again.close()


def test_a_full_queue_is_one_endpoints_own(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "q.db", limit=1)
    queue.add(queued("a", received_at=3.0))
    with pytest.raises(QueueFull):
        queue.add(queued("b"))
    queue.add(queued("x", endpoint="other"))
    found = {one.endpoint: (one.size, one.oldest) for one in queue.backlogs()}
    assert found == {"e": (1, 3.0), "other": (1, 1.0)}
    queue.close()


def test_a_message_says_how_a_request_ended() -> None:
    told = message(queued("a"), outcome())
    assert told["receivedTime"] == "1970-01-01T00:00:01.000Z"
    assert told["responseParameters"] == {
        "contentType": "t/x",
        "outputLocation": "s3://b/a.out",
        "body": {"content": "b3V0", "encoding": "BASE64"},
    }
    failed = message(queued("a"), outcome(is_success=False))
    assert (failed["invocationStatus"], failed["failureReason"]) == ("Failed", "why")
    assert failed["responseParameters"]["failureLocation"] == "s3://b/a-error.out"
    assert "body" not in failed["responseParameters"]
    assert "body" not in message(queued("a"), outcome(bytes(128 * 1024 + 1)))["responseParameters"]
