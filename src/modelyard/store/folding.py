"""A thread that folds journals into their database: a while after something was appended, with what came meanwhile."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)
FOLD_SECONDS = 0.2
RETRY_SECONDS = 5.0


class Folding:
    """Calls ``fold``, which may raise anything: then it is called again later, and whoever appends bounds what waits."""

    def __init__(self, fold: Callable[[], None], *, name: str) -> None:
        self._fold = fold
        self._is_due, self._is_closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def soon(self) -> None:
        """Something was appended: fold it in a while."""
        if not self._is_due.is_set():
            self._is_due.set()

    def end(self) -> None:
        """When what is being folded has been. What came since is the caller's."""
        self._is_closing.set()
        self._is_due.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._is_due.wait()
            self._is_closing.wait(FOLD_SECONDS)
            self._is_due.clear()
            try:
                self._fold()
            except Exception:
                logger.exception("the journals of %s cannot be folded", self._thread.name)
                self._is_closing.wait(RETRY_SECONDS)
                self._is_due.set()
