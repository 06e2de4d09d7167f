"""JSON bodies of ``json`` and ``rest-json``: values by shape, both ways."""

import base64
import binascii
import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import Shape

from modelyard.base.errors import ServiceError
from modelyard.wire import scalars

logger = logging.getLogger(__name__)
DEPTH_LIMIT = 100
TIMESTAMP_FORMAT = "unixTimestamp"


def load(body: bytes) -> Any:
    """The document, ``{}`` for an empty body. Raises ``SerializationException``."""
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed(f"the body is not JSON: {error}") from error
    return {} if document is None else document


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
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
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


def encode(shape: Any, value: Any) -> Any:
    """A Python value as what ``json.dumps`` writes; absent members stay absent, unknown ones are a bug."""
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return value
        return {
            shape.members[name].serialization.get("name", name): encode(shape.members[name], item)
            for name, item in value.items()
            if item is not None and name in shape.members
        }
    if kind == "list":
        return [encode(shape.member, item) for item in value]
    if kind == "map":
        return {
            key: None if item is None else encode(shape.value, item) for key, item in value.items()
        }
    if kind == "timestamp":
        return scalars.encode_timestamp(
            value, shape.serialization.get("timestampFormat", TIMESTAMP_FORMAT)
        )
    if kind == "blob":
        return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
    if kind in ("float", "double") and not math.isfinite(value):
        return scalars.encode_special_float(value)
    return value


def dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
