"""The requests of endpoints that are being rolled out, entered when accepted and struck off with how they ended.

In a file that is mapped into memory: a gateway that is killed leaves behind exactly what it had entered. Only requests of a
rollout cost anything here. ``domain.ledger_book`` says what stands where; control reads it.
"""

import fcntl
import logging
import mmap
import os
from pathlib import Path

from modelyard.base.errors import ServiceError
from modelyard.domain import ledger_book as book
from modelyard.domain.chain import Final
from modelyard.domain.routes import RolloutRoute
from modelyard.domain.shadow import Comparison
from modelyard.gateway.in_flight import Invocation

logger = logging.getLogger(__name__)
_SERVER_ERROR, _CLIENT_ERROR = 500, 400


class Books:
    """The book of one gateway, in ``folder``; locked while the gateway lives, made with its first rollout.

    No two gateways have ever had the same ``name``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.book"
        self._pages: dict[str, int] = {}
        self._map: mmap.mmap | None = None
        self._words: memoryview | None = None
        self._descriptor = -1
        self._is_full = False

    def accept(self, rollout: RolloutRoute) -> "Entry | None":
        """Enter a request; None where there is no room for a book."""
        page = self._page(rollout)
        if page is None or self._words is None:
            return None
        self._words[page + book.ACCEPTED] += 1
        return Entry(self._words, page, rollout.green)

    def compared(self, rollout: RolloutRoute, fleet: int, found: Comparison | None) -> None:
        """A shadow's answer in this fleet; None: the production variant's was none to compare with."""
        page = self._page(rollout)
        if page is not None and self._words is not None and found is not None:
            first = page + (book.GREEN if fleet == rollout.green else book.BLUE)
            self._words[first + book.COMPARED] += 1
            self._words[first + book.DISAGREED] += not found.agrees

    def close(self) -> None:
        """Give the file up; what stands in it stays."""
        if self._words is not None and self._map is not None:
            self._words.release()
            self._map.close()
            os.close(self._descriptor)
            self._words = self._map = None
            self._pages.clear()

    def _page(self, rollout: RolloutRoute) -> int | None:
        """The first word of its page."""
        number = self._pages.get(rollout.id)
        if number is None:
            try:
                words = self._words if self._words is not None else self._open()
                number = self._turn(words, rollout.id)
            except OSError as error:
                if not self._is_full:
                    logger.warning("requests of rollouts are not entered: %s", error)
                self._is_full = True
                return None
            self._is_full = False
        return number * book.PAGE_WORDS

    def _turn(self, words: memoryview, rollout: str) -> int:
        """A clean page. Raises ``OSError`` where the disk has no room for it: a write to memory would be fatal then."""
        number = len(self._pages)
        if number == book.PAGES:
            oldest = next(iter(self._pages))
            number = self._pages.pop(oldest)
        first = number * book.PAGE_WORDS
        os.posix_fallocate(self._descriptor, first * 8, book.PAGE_BYTES)
        for place in range(first, first + book.PAGE_WORDS):
            words[place] = 0
        assert self._map is not None
        self._map[first * 8 : first * 8 + book.KEY_BYTES] = book.key_of(rollout)
        self._pages[rollout] = number
        return number

    def _open(self) -> memoryview:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unlocked = self._path.with_suffix(".new")
        self._descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.ftruncate(self._descriptor, book.PAGES * book.PAGE_BYTES)
        unlocked.rename(self._path)  # Only now: a book that nobody holds is a dead gateway's.
        self._map = mmap.mmap(self._descriptor, book.PAGES * book.PAGE_BYTES)
        self._words = memoryview(self._map).cast("Q")
        return self._words


class Entry:
    """A request that was entered; the first word about its end strikes it off."""

    __slots__ = ("_green", "_page", "_words", "is_over")

    def __init__(self, words: memoryview, page: int, green: int) -> None:
        self._words = words
        self._page = page
        self._green = green
        self.is_over = False

    def end(
        self, outcome: Final | ServiceError, invocation: Invocation, *, fleet: int, seconds: float
    ) -> None:
        """A container answered, or the platform says why none did. ``fleet``: where it was sent."""
        words = self._words
        if self.is_over:
            words[self._page + book.TWICE] += 1
            return
        first = self._page + (
            book.GREEN if (invocation.served_by or fleet) == self._green else book.BLUE
        )
        words[first + book.REPEATED] += invocation.is_suspect
        if isinstance(outcome, ServiceError):
            self.refuse(outcome.code)
            return
        self.is_over = True
        words[first + book.ANSWERED] += 1
        if outcome.status >= _SERVER_ERROR:
            words[first + book.SERVER_ERRORS] += 1
        elif outcome.status >= _CLIENT_ERROR:
            words[first + book.CLIENT_ERRORS] += 1
        words[first + book.MICROSECONDS] += int(seconds * 1e6)
        words[first + book.HISTOGRAM + book.place_of(seconds)] += 1

    def cross(self) -> None:
        """Its answer would have gone to a connection that waits for another one."""
        self._words[self._page + book.CROSSED] += 1

    def refuse(self, code: str) -> None:
        """The platform said no, and why; nothing where a container's answer was told already."""
        self._strike(book.reason_word(code))

    def leave(self) -> None:
        """The caller has gone."""
        self._strike(book.LEFT)

    def _strike(self, word: int) -> None:
        if not self.is_over:
            self.is_over = True
            self._words[self._page + word] += 1
