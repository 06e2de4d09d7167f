"""Ledgers of rollouts, kept in the endpoint's status: written with each decision, closed when its last request has ended."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.domain import ledger_book as book
from modelyard.domain.fleet import to_json
from modelyard.domain.ledger import Ledger, closed
from modelyard.domain.ledger_book import PageCounts
from modelyard.store.resources import Json, Resource, ResourceStore

LEDGERS = "ledgers"


class BookReader:
    """The gateways' books in ``folder``, of those that live and of those that died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def counts(self, rollout: str) -> PageCounts:
        """What all gateways entered for it. Blocks for the reading of a page of each."""
        total = PageCounts()
        for descriptor, _ in self._open():
            with contextlib.suppress(OSError):
                page = _page(descriptor, book.key_of(rollout))
                if page is not None:
                    words = memoryview(page).cast("Q")
                    total.add(book.counts_of(words, is_alive=_is_held(descriptor)))
        return total

    def sweep(self, open_rollouts: Sequence[str]) -> None:
        """Remove books of gateways that are gone, unless a ledger that is still open needs them."""
        keys = [book.key_of(rollout) for rollout in open_rollouts]
        for descriptor, path in self._open():
            if not _is_held(descriptor) and not any(_page(descriptor, key) for key in keys):
                path.unlink(missing_ok=True)

    def _open(self) -> Iterator[tuple[int, Path]]:
        paths = sorted(self._folder.glob("*.book")) if self._folder.is_dir() else []
        for path in paths:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                yield descriptor, path
            finally:
                os.close(descriptor)


def _page(descriptor: int, key: bytes) -> bytes | None:
    """The page of this key, read at once, its last word last."""
    for number in range(book.PAGES):
        at = number * book.PAGE_BYTES
        found = os.pread(descriptor, book.KEY_BYTES, at)
        if found == key:
            page = os.pread(descriptor, book.PAGE_BYTES, at)
            return page if len(page) == book.PAGE_BYTES else None
        if len(found) < book.KEY_BYTES or not found.strip(b"\0"):
            return None
    return None


def _is_held(descriptor: int) -> bool:
    """Whether its gateway lives: the lock goes with it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def ledgers_of(status: Json) -> list[Ledger]:
    """An endpoint's, oldest first."""
    return msgspec.convert(status.get(LEDGERS, []), list[Ledger])


def is_draining(status: Json) -> bool:
    """Whether a rollout is over, and requests of it may still be on their way."""
    return any(one["ended"] and not one["closed"] for one in status.get(LEDGERS, ()))


def with_ledgers(status: Json, ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """The status with these; an endpoint that was never updated has none."""
    return {**status, LEDGERS: to_json(list(ledgers))} if ledgers else dict(status)


def close_drained(
    ledgers: Sequence[Ledger], books: BookReader, *, is_late: bool
) -> list[Ledger] | None:
    """The ledgers with those closed whose last request has ended, or should have; None where none is."""
    changed = False
    found = []
    for ledger in ledgers:
        if not ledger.ended or ledger.closed:
            found.append(ledger)
            continue
        counts = books.counts(ledger.id)
        if is_late or not counts.in_flight:
            changed = True
            found.append(closed(ledger, counts))
        else:
            found.append(ledger)
    return found if changed else None


def open_rollouts(store: ResourceStore) -> list[str]:
    """Ids of all rollouts whose ledgers are open."""
    found: list[str] = []
    for endpoint in store.list("endpoint"):
        found += _open_ids(endpoint)
    return found


def _open_ids(endpoint: Resource) -> list[str]:
    return [one["id"] for one in endpoint.status.get(LEDGERS, ()) if not one["closed"]]
