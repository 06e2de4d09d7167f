"""Lists of bots' parts: filters, order and pages as every one of them has them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.base.call import Call
from modelyard.domain.listing import DEFAULT_RESULTS, Entry, Query, page
from modelyard.services.lex.parts import NAMES, Part
from modelyard.services.members import present
from modelyard.store.resources import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request says of the list that it wants. ``of`` tells this list from others of the same operation."""

    of: str = ""
    sort_by: Json | None = None
    filters: Sequence[Json] | None = None
    max_results: int | None = None
    next_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One summary. ``name`` is what it is sorted by, and nobody else's; ``fields`` are what a filter may ask for."""

    name: str
    summary: Json
    updated_at: float = 0.0
    fields: Mapping[str, str] | None = None


def rows_of(kind: str, found: Iterable[Part], summarise: Callable[[Part], Json]) -> Iterator[Row]:
    """Of intents, slots or slot types, which are sorted and filtered by their names."""
    member = NAMES[kind]
    for one in found:
        name = one.members[member]
        fields = {member[0].upper() + member[1:]: name}
        yield Row(name=name, summary=summarise(one), updated_at=one.updated_at, fields=fields)


def listed(call: Call, rows: Iterable[Row], asked: Asked, *, by: str = "") -> Json:
    """``summaries`` and ``nextToken`` of a page. Raises ``ValidationError`` for a token of another list.

    ``by`` is the attribute of the order that is taken where none is asked for; every one but LastUpdatedDateTime is the name.
    """
    order = asked.sort_by or {"attribute": by, "order": "Ascending"}
    known = {one.name: one for one in rows if _passes(one, asked.filters or ())}
    found = page(
        (Entry(name=name, modified_at=one.updated_at) for name, one in known.items()),
        Query(
            scope=json.dumps([call.action, call.account, call.region, asked.of, asked.filters]),
            sort_by="LastModifiedTime" if order["attribute"] == "LastUpdatedDateTime" else "Name",
            descending=order["order"] == "Descending",
            max_results=asked.max_results or DEFAULT_RESULTS,
            next_token=asked.next_token,
        ),
    )
    return {
        "summaries": [known[name].summary for name in found.names],
        "nextToken": found.next_token,
    }


def answer(found: Json, name: str, **more: Any) -> Json:
    """The page under the name that its operation gives to the list."""
    return present({**more, name: found["summaries"], "nextToken": found["nextToken"]})


def _passes(row: Row, filters: Sequence[Json]) -> bool:
    fields = row.fields or {}
    return all(
        _OPERATORS[one["operator"]](fields.get(one["name"], ""), value)
        for one in filters
        for value in one["values"]
    )


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "CO": lambda text, value: value.lower() in text.lower(),
    "EQ": lambda text, value: value == text,
    "NE": lambda text, value: value != text,
}
