"""What becomes of a request whose worker is gone.

A worker that says GOAWAY has not executed what it did not answer: that goes elsewhere as if nothing had happened. A worker that
dies may have been killed by any of the requests it held, so each of them is a suspect: it is sent once more, alone, with
nothing else in flight on that worker. A request that kills a worker while alone is the poison, and ends. So poison kills at
most one more worker, and its neighbours get their answers.
"""

from enum import Enum, auto


class Fate(Enum):
    """What to do with one request."""

    AGAIN = auto()
    """Send it to any replica."""
    ALONE = auto()
    """Send it once more, alone."""
    FAIL = auto()
    """Answer a ModelError: the worker died while it predicted this request."""


def after_loss(*, executed: bool, alone: bool, may_retry: bool) -> Fate:
    """``executed``: it may have been. ``alone``: it was the only one there. ``may_retry``: the variant's setting."""
    if not executed:
        return Fate.AGAIN
    if alone or not may_retry:
        return Fate.FAIL
    return Fate.ALONE
