"""A gateway's book of requests: entered, struck off once, and readable when the gateway is gone."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.errors import ServiceError
from modelyard.control.ledgers import BookReader
from modelyard.domain import ledger_book as book
from modelyard.domain.chain import Final
from modelyard.domain.routes import RolloutRoute
from modelyard.domain.shadow import Comparison
from modelyard.gateway.books import Books
from modelyard.gateway.in_flight import Invocation
from modelyard.transport.frames import RequestMeta

ROLLOUT = RolloutRoute(id="abc", green=2)


def invocation(*, is_suspect: bool = False) -> Invocation:
    return Invocation(b"", RequestMeta(), 0.0, lambda _: None, is_suspect=is_suspect)


def final(status: int = 200) -> Final:
    return Final(status, "text/csv", b"1", "primary")


def test_every_end_of_a_request_has_its_place(tmp_path: Path) -> None:
    books = Books(tmp_path, "g")
    ends = [books.accept(ROLLOUT) for _ in range(8)]
    old, bad, again, refused, late, left, _flying, _another = ends
    assert old
    assert bad
    assert again
    assert refused
    assert late
    assert left
    old.end(final(), invocation(), fleet=1, seconds=0.002)
    bad.end(final(500), invocation(), fleet=2, seconds=0.004)
    bad.refuse("ModelError")  # how the caller is told of it; it was answered already
    again.end(final(), invocation(is_suspect=True), fleet=2, seconds=0.004)
    refused.refuse("ThrottlingException")
    late.end(ServiceError("ModelError", "late", status=424), invocation(), fleet=2, seconds=60.0)
    left.leave()
    counts = BookReader(tmp_path).counts("abc")
    assert (counts.accepted, counts.left, counts.in_flight, counts.cut) == (8, 1, 2, 0)
    assert counts.refused == {"ThrottlingException": 1, "ModelError": 1}
    assert (counts.blue.answered, counts.green.answered) == (1, 2)
    assert (counts.green.server_errors, counts.green.repeated) == (1, 1)
    assert counts.green.percentile(50) == pytest.approx(4.0, rel=0.1)
    assert (counts.twice, counts.crossed) == (0, 0)


def test_a_second_answer_and_one_for_another_request_are_seen(tmp_path: Path) -> None:
    entry = Books(tmp_path, "g").accept(ROLLOUT)
    assert entry is not None
    entry.end(final(), invocation(), fleet=1, seconds=0.1)
    entry.cross()
    entry.end(final(), invocation(), fleet=1, seconds=0.1)
    counts = BookReader(tmp_path).counts("abc")
    assert (counts.blue.answered, counts.twice, counts.crossed) == (1, 1, 1)


def test_what_was_in_flight_at_a_gateway_that_died_is_known(tmp_path: Path) -> None:
    dead, alive = Books(tmp_path, "dead"), Books(tmp_path, "alive")
    for books in (dead, alive):
        assert books.accept(ROLLOUT)
    dead.close()
    counts = BookReader(tmp_path).counts("abc")
    assert (counts.accepted, counts.cut, counts.in_flight) == (2, 1, 1)


def test_books_of_the_dead_are_removed_when_no_open_ledger_needs_them(tmp_path: Path) -> None:
    dead, alive = Books(tmp_path, "dead"), Books(tmp_path, "alive")
    for books in (dead, alive):
        assert books.accept(ROLLOUT)
    dead.close()
    reader = BookReader(tmp_path)
    reader.sweep(["abc"])
    assert reader.counts("abc").accepted == 2
    reader.sweep(["another"])
    assert reader.counts("abc").accepted == 1
    assert [path.name for path in tmp_path.iterdir()] == ["alive.book"]


def test_the_oldest_rollout_makes_room_for_the_newest(tmp_path: Path) -> None:
    books, reader = Books(tmp_path, "g"), BookReader(tmp_path)
    for number in range(book.PAGES + 1):
        assert books.accept(RolloutRoute(id=f"r{number}", green=1))
    assert reader.counts("r0").accepted == 0
    assert reader.counts("r1").accepted == 1
    assert reader.counts(f"r{book.PAGES}").accepted == 1


def test_a_full_disk_costs_the_book_and_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert Books(tmp_path, "g").accept(ROLLOUT) is None


def test_comparisons_with_a_shadow_belong_to_their_fleet(tmp_path: Path) -> None:
    books = Books(tmp_path, "g")
    books.compared(ROLLOUT, 2, Comparison(False, 0.5))
    books.compared(ROLLOUT, 1, Comparison(True, 0.0))
    books.compared(ROLLOUT, 1, None)
    counts = BookReader(tmp_path).counts("abc")
    assert (counts.green.compared, counts.green.disagreed) == (1, 1)
    assert (counts.blue.compared, counts.blue.disagreed) == (1, 0)


ENDS = st.sampled_from(["old", "new", "error", "again", "refused", "late", "left", "none"])


@given(st.lists(ENDS, max_size=60), st.integers(0, 60))
def test_every_request_that_was_entered_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, ends: list[str], dies_after: int
) -> None:
    folder = tmp_path_factory.mktemp("books")
    first, second = Books(folder, "first"), Books(folder, "second")
    for number, end in enumerate(ends):
        if number == dies_after:
            first.close()
        entry = (first if number < dies_after else second).accept(ROLLOUT)
        assert entry is not None
        match end:
            case "old" | "new" | "again":
                told = invocation(is_suspect=end == "again")
                entry.end(final(), told, fleet=1 if end == "old" else 2, seconds=0.01)
            case "error":
                entry.end(final(500), invocation(), fleet=2, seconds=0.01)
                entry.refuse("ModelError")
            case "late":
                late = ServiceError("ModelError", "late", status=424)
                entry.end(late, invocation(), fleet=1, seconds=60.0)
            case "refused":
                entry.refuse("ThrottlingException")
            case "left":
                entry.leave()
            case _:
                pass
    counts = BookReader(folder).counts("abc")
    has_died = dies_after < len(ends)
    cut = ends[:dies_after].count("none") if has_died else 0
    assert (counts.cut, counts.in_flight) == (cut, ends.count("none") - cut)
    answered = counts.blue.answered + counts.green.answered
    refused = sum(counts.refused.values())
    assert counts.accepted == answered + refused + counts.left + counts.cut + counts.in_flight
    assert counts.accepted == len(ends)
    assert sum(counts.green.buckets) == counts.green.answered
    first.close()
    second.close()
