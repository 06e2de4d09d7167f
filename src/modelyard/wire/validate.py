"""A request against the service's model: every fault at once, in AWS's words (hosting.md, "Validation messages")."""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.model import Shape

from modelyard.base.errors import ServiceError

FAULTS_LIMIT = 50
SHOWN_LIMIT = 1000
PATTERN_INPUT_LIMIT = 65_536
"""Longer texts are not matched: AWS's longest patterned member is shorter, and its length was refused already."""


def validate(shape: Any, value: Mapping[str, Any], *, code: str) -> None:
    """Raises ``ServiceError`` of ``code`` that lists all faults."""
    faults = []
    for fault in _faults(shape, value, ""):
        faults.append(fault)
        if len(faults) == FAULTS_LIMIT:
            break
    if faults:
        plural = "s" if len(faults) > 1 else ""
        raise ServiceError(
            code, f"{len(faults)} validation error{plural} detected: {'; '.join(faults)}"
        )


def missing(shape: Any, value: Mapping[str, Any]) -> list[str]:
    """Names of required members that are absent, for services that check no more (S3)."""
    return [name for name in shape.required_members if value.get(name) is None]


def _faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if kind == "structure":
        if not getattr(shape, "is_document_type", False):
            yield from _structure(shape, value, path)
    elif kind in ("list", "map"):
        yield from _length(shape, len(value), value, path)
        yield from _members(shape, value, path)
    elif kind == "string":
        yield from _string(shape, value, path)
    elif kind == "blob":
        if isinstance(value, bytes):
            yield from _length(shape, len(value), value, path)
    elif kind in ("integer", "long", "float", "double"):
        yield from _range(shape, value, path)


def _members(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "list":
        for number, item in enumerate(value, 1):
            place = f"{path}.{number}.member"
            if item is None:
                yield _fault(None, place, "Member must not be null")
            else:
                yield from _faults(shape.member, item, place)
        return
    for key, item in value.items():
        yield from _faults(shape.key, key, f"{path}.{key}.key")
        yield from _faults(shape.value, item, f"{path}.{key}.member")


def _structure(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield _fault(None, _join(path, name), "Member must not be null")
    for name, item in value.items():
        if item is not None:
            yield from _faults(shape.members[name], item, _join(path, name))


def _join(path: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def _length(shape: Shape, length: int, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and length < low:
        yield _fault(value, path, f"Member must have length greater than or equal to {low}")
    if high is not None and length > high:
        yield _fault(value, path, f"Member must have length less than or equal to {high}")


def _range(shape: Shape, value: float, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and value < low:
        yield _fault(value, path, f"Member must have value greater than or equal to {low}")
    if high is not None and value > high:
        yield _fault(value, path, f"Member must have value less than or equal to {high}")


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a text has to be."""

    low: int
    high: float
    values: frozenset[str]
    pattern: re.Pattern[str] | None
    matched: int
    """Texts up to this length are matched."""

    def allow(self, text: str) -> bool:
        return (
            self.low <= len(text) <= self.high
            and (not self.values or text in self.values)
            and (
                self.pattern is None
                or len(text) > self.matched
                or self.pattern.fullmatch(text) is not None
            )
        )


@functools.cache
def _rules(shape: Any) -> _Rules:
    pattern = shape.metadata.get("pattern")
    return _Rules(
        low=shape.metadata.get("min", 0),
        high=shape.metadata.get("max", math.inf),
        values=frozenset(shape.enum),
        pattern=_compiled(pattern) if pattern else None,
        matched=min(PATTERN_INPUT_LIMIT, shape.metadata.get("max", PATTERN_INPUT_LIMIT)),
    )


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    rules = _rules(shape)
    if rules.allow(value):
        return
    yield from _length(shape, len(value), value, path)
    if rules.values and value not in rules.values:
        yield _fault(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    if (
        rules.pattern is not None
        and len(value) <= rules.matched
        and not rules.pattern.fullmatch(value)
    ):
        constraint = f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}"
        yield _fault(value, path, constraint)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """AWS's patterns are Java's; they are matched against the whole text. What Python cannot read is not checked."""
    text = pattern.replace("\\p{L}", "\\w").replace("\\p{Z}", "\\s").replace("\\p{N}", "\\d")
    text = text.replace("\\p{IsLetter}", "\\w")
    for printable in ("[\\p{Print}]", "\\p{Print}"):  # a class of its own, with brackets or without
        text = text.replace(printable, "[\\x20-\\x7e]")
    try:
        return re.compile(text)
    except re.error:
        return None


def _fault(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{_shown(value)}'"
    if value is None:
        return f"Value null at '{path}' failed to satisfy constraint: {constraint}"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        text = "[" + ", ".join(_shown(item) for item in value) + "]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}={_shown(item)}" for key, item in value.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= SHOWN_LIMIT else text[:SHOWN_LIMIT] + "…"
