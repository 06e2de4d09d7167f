"""Members that travel outside the body in ``rest-json`` and ``rest-xml``: URI, query, headers, status."""

import base64
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from botocore.model import OperationModel, Shape

from modelyard.base.errors import ServiceError
from modelyard.wire import scalars

_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s][^,]*))')
_QUERY = "querystring"
_LABEL = re.compile(r"\{([^}]+)\}")


def split_target(uri: str) -> tuple[str, str]:
    """Raw path and raw query of a request target."""
    path, _, query = uri.partition("?")
    return path or "/", query


@functools.cache
def path_pattern(request_uri: str) -> re.Pattern[str]:
    """A model's URI as a pattern over raw paths; ``{Key+}`` takes slashes, an empty one too."""
    path = request_uri.partition("?")[0]
    parts, position = [], 0
    for match in _LABEL.finditer(path):
        parts.append(re.escape(path[position : match.start()]))
        name = match[1].rstrip("+")
        parts.append(f"(?P<{name}>.+)" if match[1].endswith("+") else f"(?P<{name}>[^/]+)")
        position = match.end()
    parts.append(re.escape(path[position:]))
    return re.compile("".join(parts), re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A member that travels outside the body: its name in the model and there, its shape, and where."""

    name: str
    wire_name: str
    member: Any
    location: str


@functools.cache
def _bound_members(shape: Any) -> tuple[_Bound, ...]:
    """Those of an input or an output."""
    return tuple(
        _Bound(name, member.serialization.get("name", name), member, location)
        for name, member in shape.members.items()
        if (location := member.serialization.get("location"))
    )


def decode(operation: OperationModel, *, uri: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """All members of the input that are bound to something other than the body."""
    shape = operation.input_shape
    bound = _bound_members(shape) if shape is not None else ()
    if not bound:
        return {}
    path, query = split_target(uri)
    match = path_pattern(operation.http["requestUri"]).fullmatch(path)
    labels = match.groupdict() if match else {}
    queries: dict[str, list[str]] = {}
    for name, text in parse_qsl(query, keep_blank_values=True) if query else ():
        queries.setdefault(name, []).append(text)
    parts = _Parts(labels, queries, headers)
    decoded: dict[str, Any] = {}
    for one in bound:
        value = _value(one, parts)
        if value is not None:
            decoded[one.name] = value
    for one in bound:
        if one.location == _QUERY and one.member.type_name == "map":
            taken = {other.wire_name for other in bound if other.location == _QUERY}
            decoded[one.name] = _rest_of_query(one.member, queries, taken)
    return decoded


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where members may be found."""

    labels: Mapping[str, str]
    queries: dict[str, list[str]]
    headers: Mapping[str, str]


def _value(bound: _Bound, parts: _Parts) -> Any:
    """Of one member, None where it is absent."""
    member, location, wire_name, name = bound.member, bound.location, bound.wire_name, bound.name
    if location == "uri" and wire_name in parts.labels:
        return _text(member, unquote(parts.labels[wire_name]), "iso8601", name)
    if location == _QUERY and member.type_name != "map":
        return _from_query(member, parts.queries.get(wire_name), name)
    if location == "header":
        return _from_header(member, parts.headers.get(wire_name.lower()), name)
    if location == "headers":
        prefix = wire_name.lower()
        found = {k[len(prefix) :]: v for k, v in parts.headers.items() if k.startswith(prefix)}
        return found or None
    return None


def _rest_of_query(member: Any, queries: dict[str, list[str]], taken: set[str]) -> dict[str, Any]:
    is_lists = member.value.type_name == "list"
    return {k: v if is_lists else v[0] for k, v in queries.items() if k not in taken}


def _from_query(member: Any, values: list[str] | None, name: str) -> Any:
    if values is None:
        return None
    if member.type_name == "list":
        return [_text(member.member, value, "iso8601", name) for value in values]
    return _text(member, values[0], "iso8601", name)


def _from_header(member: Any, value: str | None, name: str) -> Any:
    if value is None:
        return None
    if member.type_name == "list":
        items = _split_header_list(value, dated=member.member.type_name == "timestamp")
        return [_text(member.member, item, "rfc822", name) for item in items]
    if member.serialization.get("jsonvalue"):
        try:
            return json.loads(base64.b64decode(value, validate=True))
        except (ValueError, RecursionError) as error:
            raise _refused(name, "is no JSON in base64") from error
    return _text(member, value, "rfc822", name)


def _split_header_list(value: str, *, dated: bool) -> list[str]:
    if dated:  # An HTTP date holds a comma of its own.
        parts = value.split(",")
        return [",".join(pair).strip() for pair in zip(parts[::2], parts[1::2], strict=False)]
    quoted = _ITEM.findall(value)
    return [one.replace('\\"', '"') if one else other.strip() for one, other in quoted]


def _text(shape: Shape, value: str, style: str, name: str) -> Any:
    try:
        return scalars.decode_text(shape, value, timestamp_format=style)
    except scalars.Malformed as error:
        raise _refused(name, str(error)) from error


def _refused(name: str, reason: str) -> ServiceError:
    return ServiceError("SerializationException", f"{name}: {reason}")


def encode(shape: Any, result: Mapping[str, Any]) -> tuple[int | None, dict[str, str]]:
    """Status (None: the model's) and headers of an output."""
    status: int | None = None
    headers: dict[str, str] = {}
    for one in _bound_members(shape):
        value = result.get(one.name)
        if value is None:
            continue
        if one.location == "statusCode":
            status = int(value)
        elif one.location == "headers":
            headers |= {f"{one.wire_name}{key}": str(item) for key, item in value.items()}
        elif one.location == "header":
            headers[one.wire_name] = _header(one.member, value)
    return status, headers


def _header(member: Any, value: Any) -> str:
    if member.type_name == "list":
        return ",".join(
            _quoted(scalars.encode_text(member.member, i, timestamp_format="rfc822")) for i in value
        )
    if member.serialization.get("jsonvalue"):
        return base64.b64encode(json.dumps(value).encode()).decode()
    return scalars.encode_text(member, value, timestamp_format="rfc822")


def _quoted(text: str) -> str:
    if '"' in text or ("," in text and not text[:3].isalpha()):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text
