"""Hypothesis strategies from botocore's shapes: any value that a model allows, small, with few optional members."""

import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

OPTIONAL_LIMIT = 4
DEPTH_LIMIT = 4
_REPEATED = re.compile(r"\^?\(?(\[[^\]]+\])\)?([+*])\$?")
"""A pattern that is one class of characters, any number of times."""
_TEXT = st.characters(
    min_codepoint=0x20, max_codepoint=0x2FF, exclude_categories=("Cs", "Cc", "Zl", "Zp")
)


def values(shape: Any, *, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a shape, within its lengths, ranges, patterns and enums."""
    match shape.type_name:
        case "structure":
            return structures(shape, depth=depth)
        case "list":
            low, high = _bounds(shape, 3)
            return st.lists(values(shape.member, depth=depth + 1), min_size=low, max_size=high)
        case "map":
            low, high = _bounds(shape, 3)
            keys = values(shape.key, depth=depth + 1)
            return st.dictionaries(
                keys, values(shape.value, depth=depth + 1), min_size=low, max_size=high
            )
        case "string":
            return strings(shape)
        case "integer" | "long":
            return st.integers(*_range(shape, 1000))
        case "float" | "double":
            low_f, high_f = _range(shape, 1000)
            return st.floats(low_f, high_f, allow_nan=False, width=32)
        case "boolean":
            return st.booleans()
        case "timestamp":
            bounds = datetime(2000, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001 - hypothesis wants naive ones
            return st.datetimes(*bounds).map(
                lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
            )
        case "blob":
            low, high = _bounds(shape, 20)
            return st.binary(min_size=low, max_size=high)
    raise NotImplementedError(f"a shape of type {shape.type_name}")


def structures(shape: Any, *, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """All required members, and at most ``OPTIONAL_LIMIT`` others; of a union exactly one."""
    required = list(shape.required_members)
    optional = [name for name in shape.members if name not in required]
    if depth >= DEPTH_LIMIT:
        optional = []

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        if getattr(shape, "is_tagged_union", False):
            chosen = [draw(st.sampled_from(sorted(shape.members)))]
        else:
            most = min(OPTIONAL_LIMIT, len(optional))
            extra = (
                st.lists(st.sampled_from(optional), unique=True, max_size=most)
                if optional
                else st.just([])
            )
            chosen = required + draw(extra)
        return {name: draw(values(shape.members[name], depth=depth + 1)) for name in chosen}

    return build()


def strings(shape: Any) -> st.SearchStrategy[str]:
    """Texts that a string shape allows."""
    if shape.enum:
        return st.sampled_from(list(shape.enum))
    low, high = _bounds(shape, 30)
    pattern = shape.metadata.get("pattern")
    if pattern and pattern not in (".*", "[\\S\\s]*"):
        one_class = _REPEATED.fullmatch(pattern)
        try:
            if one_class:
                # Its length is asked for, not hoped for: ten characters of one class are hardly ever drawn by chance.
                least = max(low, 1) if one_class[2] == "+" else low
                wanted = re.compile(f"{one_class[1]}{{{least},{high}}}")
                return st.from_regex(wanted, fullmatch=True, alphabet=_TEXT)
            compiled = re.compile(pattern)
        except re.error:
            return st.text("a", min_size=low, max_size=high)
        return st.from_regex(compiled, fullmatch=True, alphabet=_TEXT).filter(
            lambda text: low <= len(text) <= max(high, shape.metadata.get("max", high))
        )
    return st.text(_TEXT, min_size=low, max_size=high)


def _bounds(shape: Any, usual: int) -> tuple[int, int]:
    low = int(shape.metadata.get("min", 0))
    return low, max(low, min(int(shape.metadata.get("max", low + usual)), low + usual))


def _range(shape: Any, usual: int) -> tuple[int, int]:
    low = int(shape.metadata.get("min", 0))
    return low, int(shape.metadata.get("max", low + usual))
