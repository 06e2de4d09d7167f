"""Who is control: one process holds the lease, others stand by to take it.

The lease is the kernel's lock on a file. It is free the instant its holder has ended, however it ended, and cannot be had by
anyone before: no clock is asked, so setting one changes nothing, and a full or slow disk neither. What is left is a holder that
lives and does nothing. Who stands by asks it for a sign of life; after ``PATIENCE_SECONDS`` without one it ends the holder, and
with it the lock. Should a lock ever fail to exclude (a home on a network file system), the epoch that each taking raises in
``state.db`` does: a commit of an earlier epoch is refused (``sqlite.Deposed``).
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

PATIENCE_SECONDS = 10.0
"""A holder that gave no sign of life for so long, and lives, is ended."""
STARTING_SECONDS = 60.0
"""A holder that was never heard is given so long to begin."""
ASK_SECONDS = 1.0
"""It is asked so often."""
_ABSENT = 5.0
"""Who did not ask for so many periods was itself asleep: what it has not heard says nothing."""


class Holder(msgspec.Struct, frozen=True):
    """A process: its name, and its id with the kernel's start time, against ids that are used again."""

    name: str
    pid: int
    start: int


class Lease:
    """One process's claim; ``path`` is the same for all."""

    def __init__(self, path: Path, me: Holder) -> None:
        self._path = path
        self._me = me
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Whether the lease is ours now; never waits."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with contextlib.suppress(OSError):  # On a full disk nobody learns our name; the lock holds.
            data = msgspec.json.encode(self._me)
            os.pwrite(self._descriptor, data.ljust(256), 0)
        return True

    def holder(self) -> Holder | None:
        """Who took it last; None if nobody ever did."""
        return read_holder(self._path)

    def close(self) -> None:
        """Give it back, or stop waiting; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_holder(path: Path) -> Holder | None:
    """Who took the lease of this file last, whether it lives or not."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Vigil:
    """How long the holder has been silent, by the watcher's own monotonic clock."""

    def __init__(
        self, *, patience: float = PATIENCE_SECONDS, starting: float = STARTING_SECONDS
    ) -> None:
        self._patience = patience
        self._starting = starting
        self._holder: Holder | None = None
        self._until = 0.0
        self._looked_at = 0.0

    def is_over(self, holder: Holder | None, *, answered: bool, now: float) -> bool:
        """Whether this holder is to be ended; to be asked every ``ASK_SECONDS``."""
        slept = now - self._looked_at > _ABSENT * ASK_SECONDS
        self._looked_at = now
        if holder != self._holder:
            self._holder, self._until = holder, now + self._starting
        elif answered:
            self._until = now + self._patience
        elif slept:
            self._until = max(self._until, now + self._patience)
        return holder is not None and now >= self._until


class Standby:
    """Waits for the lease. ``answers``: whether the holder gives a sign of life; ``end`` ends it for good."""

    def __init__(
        self,
        lease: Lease,
        *,
        answers: Callable[[], bool],
        end: Callable[[Holder], None],
        now: Callable[[], float],
        vigil: Vigil | None = None,
    ) -> None:
        self._lease = lease
        self._answers = answers
        self._end = end
        self._now = now
        self._vigil = vigil or Vigil()
        self._ask_at = now()

    def look(self) -> bool:
        """Whether the lease is ours; often, until it is."""
        if self._lease.take():
            return True
        if self._now() >= self._ask_at:
            answered = self._answers()
            now = self._now()
            self._ask_at = now + ASK_SECONDS
            holder = self._lease.holder()
            if self._vigil.is_over(holder, answered=answered, now=now) and holder is not None:
                self._end(holder)
        return False
