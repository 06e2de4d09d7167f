"""What a batch may hold, and what the queue refuses."""

from dataclasses import dataclass

import pytest

from modelyard.transport.frames import REQUEST, SOLO, Frame, RequestMeta
from modelyard.worker.batcher import Batcher, Bounds, Waiting


@dataclass(eq=False)
class FakePeer:
    is_open: bool = True
    is_clogged: bool = False


PEER, OTHER = FakePeer(), FakePeer()


def waiting(
    number: int,
    peer: FakePeer = PEER,
    *,
    size: int = 1,
    solo: bool = False,
    expires: float = 100.0,
) -> Waiting[FakePeer]:
    frame = Frame(REQUEST, SOLO if solo else 0, number, 0, b"", b"x" * size)
    return Waiting(peer, frame, RequestMeta(), expires)


def batcher(**changes: int) -> Batcher[FakePeer]:
    bounds = {"payload_bytes": 10, "queue": 100, "max_batch": 3, "queue_bytes": 50, **changes}
    return Batcher(Bounds(worker_id="w", **bounds))


def ids(taken: object) -> list[int]:
    return [one.frame.id for one in taken]  # type: ignore[attr-defined]


def take(queue: Batcher[FakePeer], now: float = 0.0) -> list[int]:
    batch, _ = queue.take(now)
    return ids(batch)


def test_batches_are_in_order_of_arrival_and_no_larger_than_allowed() -> None:
    queue = batcher()
    for number in range(5):
        assert queue.add(waiting(number))
    assert [take(queue), take(queue), take(queue)] == [[0, 1, 2], [3, 4], []]


def test_a_batch_has_no_more_bytes_than_one_request_may_have() -> None:
    queue = batcher()
    for number in range(3):
        queue.add(waiting(number, size=5))
    assert [take(queue), take(queue)] == [[0, 1], [2]]


def test_a_solo_request_has_no_company() -> None:
    queue = batcher()
    for number in range(3):
        queue.add(waiting(number, solo=number == 1))
    assert [take(queue), take(queue), take(queue)] == [[0], [1], [2]]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room() -> None:
    queue = batcher(queue=2)
    assert [queue.add(waiting(number)) for number in range(3)] == [True, True, False]
    take(queue)
    assert queue.add(waiting(3))


def test_bodies_are_bounded_together_and_room_comes_back_however_they_leave() -> None:
    queue = batcher(queue_bytes=10)
    assert queue.add(waiting(1, size=6))
    assert not queue.add(waiting(2, size=6))
    assert queue.cancel(PEER, 1)
    assert queue.add(waiting(3, size=6))
    queue.forget(PEER)
    assert queue.add(waiting(4, size=6))
    assert take(queue) == [4]
    assert queue.add(waiting(5, size=6, expires=1.0))
    assert take(queue, now=2.0) == []
    assert queue.add(waiting(6, size=6))


def test_what_has_expired_is_handed_back_apart() -> None:
    queue = batcher()
    queue.add(waiting(1, expires=5.0))
    queue.add(waiting(2))
    batch, expired = queue.take(5.0)
    assert (ids(batch), ids(expired)) == ([2], [1])


def test_a_cancelled_request_is_not_taken_and_another_peers_of_the_same_id_is() -> None:
    queue = batcher()
    queue.add(waiting(1))
    queue.add(waiting(1, OTHER))
    assert queue.cancel(PEER, 1)
    assert not queue.cancel(PEER, 1)
    (left,), _ = queue.take(0.0)
    assert left.peer is OTHER


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_peer_that_leaves_takes_only_its_own_requests_along(position: int) -> None:
    peers = [FakePeer(), FakePeer(), FakePeer()]
    queue = batcher()
    for number, peer in enumerate(peers):
        queue.add(waiting(number, peer))
    queue.forget(peers[position])
    assert take(queue) == [number for number in range(3) if number != position]


def test_requests_of_a_clogged_peer_are_held_without_taking_room_and_come_first_later() -> None:
    slow = FakePeer(is_clogged=True)
    queue = batcher(queue=2)
    queue.add(waiting(1, slow))
    queue.add(waiting(2, slow))
    assert take(queue) == []
    assert len(queue) == 0
    assert queue.add(waiting(3))
    assert queue.cancel(slow, 2)

    slow.is_clogged = False
    queue.release(slow)
    assert take(queue) == [1, 3]


@pytest.mark.parametrize(
    ("sizes", "solo", "why"),
    [
        ([1, 1], None, "drained"),
        ([1, 1, 1, 1], None, "full"),
        ([6, 6], None, "bytes"),
        ([1, 1], 1, "solo"),
    ],
)
def test_each_release_records_why_the_batch_ended_there(
    sizes: list[int], solo: int | None, why: str
) -> None:
    queue = batcher()
    for number, size in enumerate(sizes):
        queue.add(waiting(number, size=size, solo=number == solo))
    take(queue)
    assert queue.why == why
    assert {reason for reason, count in queue.releases.items() if count} == {why}


def test_what_expires_is_no_release() -> None:
    queue = batcher()
    queue.add(waiting(0, expires=1.0))
    assert take(queue, now=2.0) == []
    assert sum(queue.releases.values()) == 0
