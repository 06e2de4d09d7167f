"""A request's way through the containers of a pipeline: the answer of one is the input of the next."""

import msgspec

BETWEEN_BYTES = 5 << 20
"""AWS's limit of what one container hands to the next."""
_OK = 200


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


def after_answer(
    containers: tuple[str, ...], hop: int, *, status: int, content_type: str, body: bytes
) -> Next | Final:
    """What follows the answer of the container at ``hop``. An error ends the chain."""
    here = containers[hop]
    if status != _OK or hop == len(containers) - 1:
        return Final(status, content_type, body, here)
    if len(body) > BETWEEN_BYTES:
        text = (
            f"The request payload from {here} to {containers[hop + 1]} is {len(body)} bytes, "
            "which has exceeded the maximum limit of 5 MB."
        )
        return Final(500, "text/plain", text.encode(), here)
    return Next(hop + 1, content_type, body)
