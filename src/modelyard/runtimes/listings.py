"""Listings that tell only what has changed since the last one: of a thousand processes, the one that became ready.

The host numbers its changes. Who lists says up to which number it knows all, of which life of the host, and is told what came
after; a host that was restarted, or has forgotten what it removed so long ago, tells everything again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from modelyard.runtimes.runtime import Process

REMOVED_MAX = 10_000


class Changes:
    """The host's end. ``life`` is never that of another host."""

    def __init__(self, life: str) -> None:
        self._life = life
        self._revision = 0
        self._changed: dict[str, int] = {}
        """The last change of each process that is known; the latest is last."""
        self._removed: deque[tuple[int, str]] = deque(maxlen=REMOVED_MAX)
        self._forgotten = 0
        """Of what was removed up to this revision not all is remembered."""

    def note(self, process_id: str) -> None:
        """It came, or something became of it."""
        self._revision += 1
        self._changed.pop(process_id, None)
        self._changed[process_id] = self._revision

    def remove(self, process_id: str) -> None:
        """It is known no more."""
        self._revision += 1
        self._changed.pop(process_id, None)
        if len(self._removed) == REMOVED_MAX:
            self._forgotten = self._removed[0][0]
        self._removed.append((self._revision, process_id))

    def answer(
        self, life: str, revision: int, describe: Callable[[str], Process]
    ) -> dict[str, Any]:
        """To who knows all up to ``revision`` of the host's ``life``."""
        is_whole = life != self._life or not self._forgotten <= revision <= self._revision
        known = 0 if is_whole else revision
        return {
            "life": self._life,
            "revision": self._revision,
            "whole": is_whole,
            "removed": [] if is_whole else _after(known, ((n, one) for n, one in self._removed)),
            "processes": [
                describe(one)
                for one in _after(known, ((number, one) for one, number in self._changed.items()))
            ],
        }


def _after(revision: int, numbered: Iterable[tuple[int, str]]) -> list[str]:
    return [one for number, one in numbered if number > revision]


class Known:
    """Control's end: all processes, as far as the host's answers tell."""

    def __init__(self) -> None:
        self._processes: dict[str, Process] = {}
        self._life = ""
        self._revision = 0

    @property
    def question(self) -> dict[str, Any]:
        """What the host is asked for."""
        return {"op": "list", "life": self._life, "since": self._revision}

    def take(self, answer: Mapping[str, Any]) -> list[Process]:
        """All processes; those of which nothing was said are the same objects as before."""
        told = {one["id"]: msgspec.convert(one, Process) for one in answer["processes"]}
        life, revision = answer.get("life", ""), answer.get("revision", 0)
        if answer.get("whole", True):
            self._processes = told
        elif life == self._life and revision >= self._revision:
            for process_id in answer["removed"]:
                self._processes.pop(process_id, None)
            self._processes.update(told)
        else:
            return list(self._processes.values())  # An answer that was overtaken by a later one.
        self._life, self._revision = life, revision
        return list(self._processes.values())
