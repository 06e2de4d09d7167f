"""A multi-model endpoint's shelf: the folder in which its workers find the models that were asked for.

A worker that is asked for a model that is not there answers ``ABSENT`` and has executed nothing; the gateway asks control for
it, control puts it there by name, and the gateway sends the request again. So nothing is copied that nobody invokes.
"""

import hashlib

import msgspec

ABSENT = 404
"""Of a frame without ``OWN_STATUS``: the model is not on the shelf."""
SOCKET = "models"
DATAGRAM_BYTES = 64 << 10


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A gateway's wish, as a datagram: put ``model`` on the shelf of this variant."""

    id: int
    account: str
    region: str
    endpoint: str
    variant: str
    model: str


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Control's answer. ``error`` is for the caller; empty: the model is there."""

    id: int
    error: str = ""


def place_of(model: str) -> str:
    """The name of a model's file on its shelf, whatever characters the model's own name has."""
    return hashlib.blake2b(model.encode("utf-8", "replace"), digest_size=16).hexdigest()


encode = msgspec.msgpack.Encoder().encode
decode_ask = msgspec.msgpack.Decoder(Ask).decode
decode_told = msgspec.msgpack.Decoder(Told).decode
