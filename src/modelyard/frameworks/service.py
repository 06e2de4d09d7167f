"""What a model is that reads and writes bodies by itself: somebody's script, or a pipeline with a form of its own.

The built-in loaders give a ``Model`` of rows (``model.py``), whose bodies the platform decodes and merges. A ``Service``
is asked as a container is: body and content type in, body and content type out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request."""

    body: bytes
    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. ``status`` other than 2xx makes it a ``ModelError`` with ``body`` as its message."""

    body: bytes
    content_type: str
    status: int = 200
    custom_attributes: str = ""
    pieces: Iterator[bytes] | None = None
    """The body, where the model yields it piece by piece; then ``body`` is empty."""


class Refusal(Exception):
    """The request cannot be answered, and it is not the model's fault: 400, 406 or 415 of the container."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@runtime_checkable
class Service(Protocol):
    """Raises ``Refusal`` for what the caller did wrong; anything else is the model's fault."""

    @property
    def max_batch(self) -> int:
        """Requests that ``answer_together`` takes; 1 where each is answered by itself."""

    @property
    def seconds(self) -> float:
        """One answer's limit that the model itself has set; 0 leaves it to the platform."""

    def answer(self, ask: Ask) -> Reply:
        """Answer one request."""

    def answer_together(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        """One reply for each, in order, or what was wrong with it; raises what went wrong with all of them."""
