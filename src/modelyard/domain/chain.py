"""A request's way through the containers of a pipeline: the answer of one is the input of the next."""

from collections.abc import Sequence

import msgspec

BETWEEN_BYTES = 5 << 20
"""AWS's limit of what one container hands to the next."""
_OK = 200
_JSON = "application/json"


class Next(msgspec.Struct, frozen=True, gc=False):
    """Send ``body`` on to the worker at ``hop``."""

    hop: int
    content_type: str
    body: bytes


class Final(msgspec.Struct, frozen=True, gc=False):
    """The answer for the caller; ``container`` is where it came from."""

    status: int
    content_type: str
    body: bytes
    container: str
    custom_attributes: str = ""


ARRAYS = "application/x-npy; numbers=text"
"""The ``Accept`` between two containers that take arrays: the numbers that text would be read as, without the text."""


def accept_at(hop: int, takes_arrays: Sequence[bool], *, accept: str, content_type: str) -> str:
    """The ``Accept`` that the container at ``hop`` is asked with; ``accept`` and ``content_type`` are the caller's.

    The caller's wish is for the last container. Between two that take arrays the numbers are handed on without encoding them;
    every other container answers in its own default type, as on AWS. One that was asked with an array where the caller had
    sent text answers as if it had been asked with that.
    """
    is_last = hop == len(takes_arrays) - 1
    if not is_last and takes_arrays[hop] and takes_arrays[hop + 1]:
        return ARRAYS
    wish = accept if is_last else ""
    is_fed = hop > 0 and takes_arrays[hop - 1] and takes_arrays[hop]
    return wish or (f"{content_type or _JSON}, {_JSON};q=0.5" if is_fed else "")


def after_answer(
    containers: tuple[str, ...],
    hop: int,
    *,
    status: int,
    content_type: str,
    body: bytes,
    custom_attributes: str = "",
) -> Next | Final:
    """What follows the answer of the container at ``hop``. An error ends the chain."""
    here = containers[hop]
    if status != _OK or hop == len(containers) - 1:
        return Final(status, content_type, body, here, custom_attributes)
    if len(body) > BETWEEN_BYTES:
        text = (
            f"The request payload from {here} to {containers[hop + 1]} is {len(body)} bytes, "
            "which has exceeded the maximum limit of 5 MB."
        )
        return Final(500, "text/plain", text.encode(), here)
    return Next(hop + 1, content_type, body)
