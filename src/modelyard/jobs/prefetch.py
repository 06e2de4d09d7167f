"""The next items of an iterator are made in a thread while the last one is used: reading goes on while a model predicts."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """An iterator over ``source``, which runs in a thread of its own, at most ``ahead`` items ahead. To be closed."""

    def __init__(self, source: Iterator[T], *, ahead: int) -> None:
        self._source = source
        self._ahead = ahead
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._has_ended = False
        self._is_closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch")
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Raises what the source raised, after the items before."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._has_ended)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """Let the thread end after the item that it is making, and wait for it. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._source:
                with self._changed:
                    self._changed.wait_for(
                        lambda: len(self._items) < self._ahead or self._is_closed
                    )
                    if self._is_closed:
                        return
                    self._items.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that uses the items
            self._error = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()
