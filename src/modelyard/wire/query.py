"""Form bodies of the ``query`` protocol, as botocore's QuerySerializer writes them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from modelyard.base.errors import ServiceError
from modelyard.wire import scalars

TIMESTAMP_FORMAT = "iso8601"
PARAMETERS_LIMIT = 10_000
DEPTH_LIMIT = 50

Form = dict[str, str]


def load(body: bytes, query: str) -> Form:
    """All parameters of the body and, for requests sent with GET, of the query string."""
    try:
        text = body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETERS_LIMIT)
        pairs += parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS_LIMIT)
    except ValueError as error:
        raise ServiceError("MalformedInput", f"The request could not be read: {error}") from error
    return dict(pairs)


def decode(shape: Any, form: Form, prefix: str = "", *, depth: int = 0) -> Any:
    """The value under ``prefix``, None if the form has none. Raises ``MalformedInput``."""
    if depth > DEPTH_LIMIT:
        raise ServiceError("MalformedInput", f"{prefix} is nested too deep.")
    kind = shape.type_name
    if kind == "structure":
        return _decode_structure(shape, form, prefix, depth)
    if kind == "list":
        return _decode_list(shape, form, prefix, depth)
    if kind == "map":
        return _decode_map(shape, form, prefix, depth)
    text = form.get(prefix)
    if text is None:
        return None
    try:
        return scalars.decode_text(shape, text, timestamp_format=TIMESTAMP_FORMAT)
    except scalars.Malformed as error:
        raise ServiceError("MalformedInput", f"{prefix}: {error}") from error


def _decode_structure(shape: Any, form: Form, prefix: str, depth: int) -> dict[str, Any] | None:
    if prefix and not any(name.startswith(prefix + ".") for name in form):
        return None  # Also what ends the descent into a shape that holds itself.
    decoded = {}
    for name, member in shape.members.items():
        wire_name = member.serialization.get("name", name)
        value = decode(
            member, form, f"{prefix}.{wire_name}" if prefix else wire_name, depth=depth + 1
        )
        if value is not None:
            decoded[name] = value
    return decoded if decoded or not prefix else None


def _decode_list(shape: Any, form: Form, prefix: str, depth: int) -> list[Any] | None:
    if form.get(prefix) == "":
        return []
    if shape.serialization.get("flattened"):
        # A flattened list is named after its members, where these have a name.
        name = shape.member.serialization.get("name")
        base = ".".join([*prefix.split(".")[:-1], name]) if name else prefix
    else:
        base = f"{prefix}.{shape.member.serialization.get('name', 'member')}"
    values = [
        decode(shape.member, form, f"{base}.{number}", depth=depth + 1)
        for number in _numbers(form, f"{base}.")
    ]
    return values or None


def _decode_map(shape: Any, form: Form, prefix: str, depth: int) -> dict[str, Any] | None:
    base = prefix if shape.serialization.get("flattened") else f"{prefix}.entry"
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    decoded = {}
    for number in _numbers(form, f"{base}."):
        key = form.get(f"{base}.{number}.{key_name}")
        if key is not None:
            decoded[key] = decode(
                shape.value, form, f"{base}.{number}.{value_name}", depth=depth + 1
            )
    return decoded or None


def _numbers(form: Form, prefix: str) -> Iterator[int]:
    found = {name[len(prefix) :].partition(".")[0] for name in form if name.startswith(prefix)}
    yield from sorted(int(text) for text in found if text.isdigit())
