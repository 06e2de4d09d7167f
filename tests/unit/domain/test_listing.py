import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.errors import ValidationError
from modelyard.domain.listing import Entry, Query, SortKey, page

names = st.text("abcü", min_size=1, max_size=3)
moments = st.integers(0, 5).map(float)
entry_lists = st.lists(
    st.builds(
        Entry,
        name=names,
        created_at=moments,
        modified_at=moments,
        status=st.sampled_from(["Creating", "InService"]),
    ),
    unique_by=lambda entry: entry.name,
    max_size=12,
)
queries = st.builds(
    Query,
    scope=st.just("ListThings"),
    sort_by=st.sampled_from(["Name", "CreationTime", "LastModifiedTime", "Status"]),
    descending=st.booleans(),
    name_contains=st.none() | names,
    name_prefix=st.none() | names,
    created_after=st.none() | moments,
    created_before=st.none() | moments,
    modified_after=st.none() | moments,
    modified_before=st.none() | moments,
    status=st.none() | st.sampled_from(["Creating", "InService"]),
    max_results=st.integers(1, 4),
)
SORTED: dict[SortKey, str] = {
    "Name": "name",
    "CreationTime": "created_at",
    "LastModifiedTime": "modified_at",
    "Status": "status",
}


def read_all(entries: list[Entry], query: Query) -> list[str]:
    found: list[str] = []
    token = None
    while True:
        one = page(entries, replace(query, next_token=token))
        assert len(one.names) <= query.max_results
        found += one.names
        token = one.next_token
        if token is None:
            return found
        assert len(one.names) == query.max_results


@given(entry_lists, queries)
def test_the_pages_together_are_the_whole_list_once_and_in_order(
    entries: list[Entry], query: Query
) -> None:
    wanted = [
        one
        for one in entries
        if (query.name_contains or "") in one.name
        and one.name.startswith(query.name_prefix or "")
        and query.status in (None, one.status)
        and (query.created_after is None or one.created_at >= query.created_after)
        and (query.created_before is None or one.created_at < query.created_before)
        and (query.modified_after is None or one.modified_at >= query.modified_after)
        and (query.modified_before is None or one.modified_at < query.modified_before)
    ]
    wanted.sort(
        key=lambda one: (getattr(one, SORTED[query.sort_by]), one.name), reverse=query.descending
    )
    assert read_all(entries, query) == [one.name for one in wanted]


@given(entry_lists, queries, st.data())
def test_what_comes_and_goes_between_pages_hides_and_repeats_nothing(
    entries: list[Entry], query: Query, data: st.DataObject
) -> None:
    first = page(entries, query)
    if first.next_token is None:
        return
    gone = data.draw(st.sets(st.sampled_from([one.name for one in entries])))
    come = [replace(one, name=f"{one.name}new") for one in data.draw(entry_lists)]
    later = [one for one in entries if one.name not in gone] + come
    second = page(later, replace(query, next_token=first.next_token, max_results=100))

    assert not set(first.names) & set(second.names)
    before = page(entries, replace(query, max_results=100)).names
    for name in set(before) - set(first.names) - gone:
        assert name in second.names


ENTRIES = [Entry(name=name, created_at=1.0) for name in "abc"]


def test_there_is_no_token_after_the_last_entry() -> None:
    assert page(ENTRIES, Query(scope="s", max_results=3)).next_token is None
    assert page([], Query(scope="s")).next_token is None


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": "other"},
        {"descending": True},
        {"sort_by": "Name"},
        {"name_contains": "a"},
        {"status": "Creating"},
        {"created_after": 1.0},
    ],
)
def test_a_token_serves_only_its_own_query(changed: dict[str, object]) -> None:
    query = Query(scope="s", max_results=1)
    token = page(ENTRIES, query).next_token
    other = replace(query, next_token=token, **changed)  # type: ignore[arg-type]  # any field
    with pytest.raises(ValidationError, match="token"):
        page(ENTRIES, other)


def test_the_size_of_pages_may_change_on_the_way() -> None:
    query = Query(scope="s", sort_by="Name", max_results=1)
    token = page(ENTRIES, query).next_token
    assert page(ENTRIES, replace(query, max_results=9, next_token=token)).names == ["b", "c"]


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


NESTED = base64.urlsafe_b64encode(b"[" * 5000).decode()
"""Deeper than a reader of JSON goes."""


@pytest.mark.parametrize(
    "token",
    [
        "",
        "?",
        "ü",
        "abc",
        "////",
        forged(1),
        forged(None),
        forged([]),
        forged(["x", 1.0, "a"]),
        NESTED,
    ],
)
def test_a_token_that_was_never_given_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="token"):
        page(ENTRIES, Query(scope="s", next_token=token))


def test_a_forged_place_of_another_type_is_refused() -> None:
    query = Query(scope="s", max_results=1)
    digest, _, name = json.loads(base64.urlsafe_b64decode(page(ENTRIES, query).next_token or ""))
    for place in ([digest, "text", name], [digest, 1.0, 2], [digest, True, name]):
        with pytest.raises(ValidationError, match="token"):
            page(ENTRIES, replace(query, next_token=forged(place)))
