"""JSON bodies of ``json`` and ``rest-json``: values by shape, both ways."""

import base64
import binascii
import functools
import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from botocore.model import Shape

from modelyard.base.errors import ServiceError
from modelyard.wire import scalars

logger = logging.getLogger(__name__)
DEPTH_LIMIT = 100
TIMESTAMP_FORMAT = "unixTimestamp"
_decode_quickly = msgspec.json.Decoder().decode
_encode_quickly = msgspec.json.Encoder().encode


def load(body: bytes) -> Any:
    """The document, ``{}`` for an empty body. Raises ``SerializationException``."""
    if not body.strip():
        return {}
    try:
        document = _decode_quickly(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = _decode_slowly(body)
    return {} if document is None else document


def _decode_slowly(body: bytes) -> Any:
    """What is no JSON by the letter but was always read, such as half of a surrogate pair; and what is wrong with the rest."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed(f"the body is not JSON: {error}") from error


def malformed(reason: str) -> ServiceError:
    return ServiceError("SerializationException", f"The request could not be read: {reason}")


def decode(shape: Shape, value: Any, *, path: str = "", depth: int = 0) -> Any:
    """A JSON value as the shape's Python value. Raises ``SerializationException`` naming the member."""
    if depth > DEPTH_LIMIT:
        raise malformed(f"{path} is nested deeper than {DEPTH_LIMIT}")
    if value is None:
        return None
    decoder = _DECODERS.get(shape.type_name, _decode_text)
    return decoder(shape, value, path, depth)


def _decode_structure(shape: Any, value: Any, path: str, depth: int) -> Any:
    if getattr(shape, "is_document_type", False):
        return value
    if not isinstance(value, dict):
        raise _unexpected(path, "an object", value)
    names = _names(shape)
    decoded: dict[str, Any] = {}
    for wire_name, item in value.items():
        name = names.get(wire_name)
        if name is None:
            logger.debug("unknown member %s.%s is dropped", path or shape.name, wire_name)
            continue
        inner = decode(
            shape.members[name], item, path=f"{path}.{name}" if path else name, depth=depth + 1
        )
        if inner is not None:
            decoded[name] = inner
    return decoded


@functools.cache
def _names(shape: Any) -> dict[str, str]:
    """Of a structure's members, by those on the wire."""
    return {member.serialization.get("name", name): name for name, member in shape.members.items()}


def _decode_list(shape: Any, value: Any, path: str, depth: int) -> Any:
    if not isinstance(value, list):
        raise _unexpected(path, "a list", value)
    return [
        decode(shape.member, item, path=f"{path}.{number}", depth=depth + 1)
        for number, item in enumerate(value, 1)
    ]


def _decode_map(shape: Any, value: Any, path: str, depth: int) -> Any:
    if not isinstance(value, dict):
        raise _unexpected(path, "an object", value)
    return {
        key: decode(shape.value, item, path=f"{path}.{key}", depth=depth + 1)
        for key, item in value.items()
        if item is not None
    }


def _decode_timestamp(shape: Shape, value: Any, path: str, depth: int) -> Any:
    try:
        style = shape.serialization.get("timestampFormat", TIMESTAMP_FORMAT)
        return scalars.decode_timestamp(value, style)
    except (ValueError, OverflowError) as error:
        raise _unexpected(path, "a time stamp", value) from error


def _decode_blob(shape: Shape, value: Any, path: str, depth: int) -> Any:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _unexpected(path, "base64", value) from error


def _decode_integer(shape: Shape, value: Any, path: str, depth: int) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unexpected(path, "an integer", value)
    return value


def _decode_float(shape: Shape, value: Any, path: str, depth: int) -> Any:
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unexpected(path, "a number", value)
    try:
        return float(value)
    except OverflowError as error:  # an integer of hundreds of digits
        raise _unexpected(path, "a number within a double's range", value) from error


def _decode_boolean(shape: Shape, value: Any, path: str, depth: int) -> Any:
    if not isinstance(value, bool):
        raise _unexpected(path, "true or false", value)
    return value


def _decode_text(shape: Shape, value: Any, path: str, depth: int) -> Any:
    if not isinstance(value, str):
        raise _unexpected(path, "a string", value)
    return value


_DECODERS: Mapping[str, Callable[[Any, Any, str, int], Any]] = {
    "structure": _decode_structure,
    "list": _decode_list,
    "map": _decode_map,
    "timestamp": _decode_timestamp,
    "blob": _decode_blob,
    "integer": _decode_integer,
    "long": _decode_integer,
    "float": _decode_float,
    "double": _decode_float,
    "boolean": _decode_boolean,
}


def _unexpected(path: str, expected: str, value: Any) -> ServiceError:
    return malformed(f"{path or 'the body'} has to be {expected}, not {type(value).__name__}")


Encoder = Callable[[Any], Any]


def encode(shape: Any, value: Any) -> Any:
    """A Python value as what ``dump`` writes; absent members stay absent, and what the shape has not is dropped."""
    encoder = _encoder(shape)
    return value if encoder is None else encoder(value)


@functools.cache
def _encoder(shape: Any) -> Encoder | None:
    """Found out once a shape; None where a value is written as it is."""
    kind = shape.type_name
    if kind == "structure":
        return None if getattr(shape, "is_document_type", False) else _structure_encoder(shape)
    if kind == "list":
        return lambda value: [encode(shape.member, item) for item in value]
    if kind == "map":
        return lambda value: {
            key: None if item is None else encode(shape.value, item) for key, item in value.items()
        }
    if kind == "timestamp":
        style = shape.serialization.get("timestampFormat", TIMESTAMP_FORMAT)
        return lambda value: scalars.encode_timestamp(value, style)
    return _SCALARS.get(kind)


def _structure_encoder(shape: Any) -> Encoder:
    """Looks at a member when it is first met: a structure may be a part of itself."""
    members = shape.members
    known: dict[str, tuple[str, Encoder | None]] = {}

    def encode_structure(value: Mapping[str, Any]) -> dict[str, Any]:
        encoded = {}
        for name, item in value.items():
            found = known.get(name)
            if found is None:
                if name not in members:
                    continue
                wire_name = members[name].serialization.get("name", name)
                found = known[name] = (wire_name, _encoder(members[name]))
            if item is not None:
                encoded[found[0]] = item if found[1] is None else found[1](item)
        return encoded

    return encode_structure


def _encode_blob(value: bytes | str) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def _encode_float(value: float) -> float | str:
    return value if math.isfinite(value) else scalars.encode_special_float(value)


_SCALARS: Mapping[str, Encoder] = {
    "blob": _encode_blob,
    "float": _encode_float,
    "double": _encode_float,
}
_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def dump(document: Any) -> bytes:
    try:
        return _encode_quickly(document)
    except (
        UnicodeEncodeError,
        OverflowError,
    ):  # Half of a surrogate pair, or an integer of over 64 bits.
        return _dumps(document).encode()
