"""Filter, sort and page as every ``List*`` operation does.

A token says after which place the next page begins, not how many entries came before: entries that appear or vanish
between two pages are neither repeated nor made to hide others. It also carries a digest of the query that it belongs
to, because a place means nothing under other filters.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from modelyard.base.errors import ServiceError, ValidationError

DEFAULT_RESULTS = 10
SortKey = Literal["Name", "CreationTime", "LastModifiedTime", "Status"]
_Place = tuple[str | float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What can be asked of a listed thing. Times are epoch seconds; ``name`` is unique in a list."""

    name: str
    created_at: float = 0.0
    modified_at: float = 0.0
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One request. ``scope`` names operation, account and region, so that a token serves no other list; ``refusal`` is what
    the service calls a token that is none of this list's."""

    scope: str
    sort_by: SortKey = "CreationTime"
    descending: bool = False
    name_contains: str | None = None
    name_prefix: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    modified_after: float | None = None
    modified_before: float | None = None
    status: str | None = None
    max_results: int = DEFAULT_RESULTS
    next_token: str | None = None
    refusal: Callable[[str], ServiceError] = ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The entries of one page; ``next_token`` is None on the last."""

    names: Sequence[str]
    next_token: str | None


def page(entries: Iterable[Entry], query: Query) -> Page:
    """One page. Raises ``query.refusal`` for a token that is not of this query."""
    after = None if query.next_token is None else _decode(query.next_token, query)
    places = sorted(
        (_place(entry, query.sort_by) for entry in entries if _matches(entry, query)),
        reverse=query.descending,
    )
    if after is not None:
        places = [place for place in places if _follows(place, after, query)]
    shown = places[: query.max_results]
    more = len(places) > len(shown)
    return Page(
        names=[name for _, name in shown],
        next_token=_encode(shown[-1], query) if more else None,
    )


def _matches(entry: Entry, query: Query) -> bool:
    """``…After`` includes its moment, ``…Before`` does not."""
    return (
        (query.name_contains is None or query.name_contains in entry.name)
        and (query.name_prefix is None or entry.name.startswith(query.name_prefix))
        and (query.status is None or query.status == entry.status)
        and _within(entry.created_at, query.created_after, query.created_before)
        and _within(entry.modified_at, query.modified_after, query.modified_before)
    )


def _within(moment: float, after: float | None, before: float | None) -> bool:
    return (after is None or moment >= after) and (before is None or moment < before)


def _place(entry: Entry, sort_by: SortKey) -> _Place:
    match sort_by:
        case "Name":
            return "", entry.name
        case "CreationTime":
            return entry.created_at, entry.name
        case "LastModifiedTime":
            return entry.modified_at, entry.name
        case "Status":
            return entry.status, entry.name


def _follows(place: _Place, after: _Place, query: Query) -> bool:
    # Both values are of the type that ``sort_by`` stands for, which is part of the token's digest.
    return place < after if query.descending else place > after


def _digest(query: Query) -> str:
    filters = [
        query.scope,
        query.sort_by,
        query.descending,
        query.name_contains,
        query.name_prefix,
        query.created_after,
        query.created_before,
        query.modified_after,
        query.modified_before,
        query.status,
    ]
    return hashlib.blake2b(json.dumps(filters).encode(), digest_size=9).hexdigest()


def _encode(place: _Place, query: Query) -> str:
    text = json.dumps([_digest(query), *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode(token: str, query: Query) -> _Place:
    try:
        digest, value, name = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise query.refusal("Invalid pagination token.") from None
    kind = float if query.sort_by in ("CreationTime", "LastModifiedTime") else str
    if digest != _digest(query) or not isinstance(value, kind) or not isinstance(name, str):
        raise query.refusal("Invalid pagination token: it belongs to a request with other filters.")
    return value, name
