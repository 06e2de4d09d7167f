"""Bodies of ``smithy-rpc-v2-cbor``: values by shape, both ways.

Source: Smithy's RPC v2 CBOR protocol and botocore's serializers. Time stamps are tag 1; blobs are byte strings; absent
members stay absent. The operation stands in the path: ``/service/<target prefix>/operation/<name>``.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import cbor2
from botocore.model import Shape

from modelyard.base.errors import ServiceError
from modelyard.wire import scalars
from modelyard.wire.json_body import DEPTH_LIMIT, malformed

logger = logging.getLogger(__name__)
CONTENT_TYPE = "application/cbor"
_EPOCH_TAG = 1


def load(body: bytes) -> Any:
    """The value, ``{}`` for an empty body. Raises ``SerializationException``."""
    if not body:
        return {}
    try:
        document = cbor2.loads(body)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError) as error:
        raise malformed(f"the body is not CBOR: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise malformed("the body is nested too deeply, or claims more than it holds") from error
    return {} if document is None else document


def decode(shape: Any, value: Any, *, path: str = "", depth: int = 0) -> Any:
    """A decoded value as the shape's. Raises ``SerializationException`` naming the member."""
    if depth > DEPTH_LIMIT:
        raise malformed(f"{path} is nested deeper than {DEPTH_LIMIT}")
    if value is None:
        return None
    match shape.type_name:
        case "structure":
            return _decode_structure(shape, value, path, depth)
        case "list":
            if not isinstance(value, list):
                raise _unexpected(path, "a list", value)
            return [
                decode(shape.member, item, path=f"{path}.{number}", depth=depth + 1)
                for number, item in enumerate(value, 1)
            ]
        case "map":
            if not isinstance(value, Mapping):
                raise _unexpected(path, "a map", value)
            return {
                str(key): decode(shape.value, item, path=f"{path}.{key}", depth=depth + 1)
                for key, item in value.items()
                if item is not None
            }
    return _decode_scalar(shape, value, path)


def _decode_structure(shape: Any, value: Any, path: str, depth: int) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _unexpected(path, "a map", value)
    decoded: dict[str, Any] = {}
    for name, item in value.items():
        if name not in shape.members:
            logger.debug("unknown member %s.%s is dropped", path or shape.name, name)
            continue
        where = f"{path}.{name}" if path else str(name)
        inner = decode(shape.members[name], item, path=where, depth=depth + 1)
        if inner is not None:
            decoded[name] = inner
    return decoded


def _decode_scalar(shape: Shape, value: Any, path: str) -> Any:
    kind = shape.type_name
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "blob" and isinstance(value, bytes):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("integer", "long") and is_number and value == value // 1:
        return int(value)
    if kind in ("float", "double") and is_number:
        try:
            return float(value)
        except OverflowError as error:  # an integer of hundreds of digits
            raise _unexpected(path, "a number within a double's range", value) from error
    if kind == "timestamp":
        return _decode_timestamp(value, path)
    if kind in ("string", "character") and isinstance(value, str):
        return value
    raise _unexpected(path, f"a value of type {kind}", value)


def _decode_timestamp(value: Any, path: str) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    try:
        moment: datetime = scalars.decode_timestamp(value, "unixTimestamp")
    except (ValueError, TypeError, OverflowError) as error:
        raise _unexpected(path, "a time stamp", value) from error
    return moment


def _unexpected(path: str, expected: str, value: Any) -> ServiceError:
    return malformed(f"{path or 'the body'} has to be {expected}, not {type(value).__name__}")


def encode(shape: Any, value: Any) -> Any:
    """A Python value as what ``dump`` writes; absent members stay absent."""
    match shape.type_name:
        case "structure":
            return {
                name: encode(shape.members[name], item)
                for name, item in value.items()
                if item is not None and name in shape.members
            }
        case "list":
            return [encode(shape.member, item) for item in value]
        case "map":
            return {key: encode(shape.value, item) for key, item in value.items()}
        case "timestamp":
            moment = value.timestamp() if isinstance(value, datetime) else value
            return cbor2.CBORTag(_EPOCH_TAG, int(moment) if moment == int(moment) else moment)
        case "blob":
            return value if isinstance(value, bytes) else value.encode()
        case "float" | "double":
            return float(value)
    return value


def dump(document: Any) -> bytes:
    return cbor2.dumps(document)
