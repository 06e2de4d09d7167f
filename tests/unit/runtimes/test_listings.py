"""Listings of what has changed: however they are mixed with changes, both ends agree."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtimes import listings
from modelyard.runtimes.listings import Changes, Known
from modelyard.runtimes.runtime import Process, ProcessState

READY, DEAD = ProcessState.READY, ProcessState.DEAD


class OneHost:
    """Processes with a state each, as a host knows them."""

    def __init__(self, life: str) -> None:
        self.changes = Changes(life)
        self.states: dict[str, ProcessState] = {}

    def put(self, name: str, state: ProcessState) -> None:
        self.states[name] = state
        self.changes.note(name)

    def remove(self, name: str) -> None:
        if self.states.pop(name, None) is not None:
            self.changes.remove(name)

    def list(self, known: Known) -> dict[str, Any]:
        question = known.question
        answer = self.changes.answer(question["life"], question["since"], self.describe)
        decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
        return decoded

    def describe(self, name: str) -> Process:
        return Process(id=name, kind="worker", pid=1, state=self.states[name])


def states(processes: list[Process]) -> dict[str, ProcessState]:
    return {one.id: one.state for one in processes}


def test_only_what_changed_is_told_and_the_rest_stays_the_same_object() -> None:
    host, known = OneHost("1"), Known()
    for name in "abc":
        host.put(name, READY)
    before = {one.id: one for one in known.take(host.list(known))}
    host.put("b", DEAD)
    host.remove("c")
    answer = host.list(known)
    assert [one["id"] for one in answer["processes"]] == ["b"]
    after = {one.id: one for one in known.take(answer)}
    assert states(list(after.values())) == {"a": READY, "b": DEAD}
    assert after["a"] is before["a"]


def test_a_restarted_host_tells_all_again() -> None:
    host, known = OneHost("1"), Known()
    host.put("a", READY)
    known.take(host.list(known))
    after = OneHost("2")
    after.put("b", READY)
    assert states(known.take(after.list(known))) == {"b": READY}


def test_a_host_that_numbers_nothing_is_believed_whole() -> None:
    known = Known()
    for name in "ab":
        listed = known.take({"processes": [msgspec.to_builtins(ready(name))]})
        assert states(listed) == {name: READY}


def ready(name: str) -> Process:
    return Process(id=name, kind="worker", pid=1, state=READY)


def test_what_was_removed_too_long_ago_to_be_remembered_is_told_by_a_whole_listing() -> None:
    host, known = OneHost("1"), Known()
    host.put("a", READY)
    host.put("b", READY)
    known.take(host.list(known))
    host.remove("a")
    for number in range(listings.REMOVED_MAX + 1):
        host.put(f"n{number}", READY)
        host.remove(f"n{number}")
    assert states(known.take(host.list(known))) == {"b": READY}


def test_an_answer_that_was_overtaken_changes_nothing() -> None:
    host, known = OneHost("1"), Known()
    host.put("a", READY)
    known.take(host.list(known))
    host.put("a", DEAD)
    early = host.list(known)
    host.remove("a")
    assert states(known.take(host.list(known))) == {}
    assert states(known.take(early)) == {}


@given(st.lists(st.tuples(st.sampled_from("prl"), st.sampled_from("abcd"))))
def test_any_order_of_changes_and_listings_ends_in_agreement(
    steps: list[tuple[str, str]],
) -> None:
    host, known = OneHost("1"), Known()
    for step, name in steps:
        if step == "p":
            host.put(name, DEAD if host.states.get(name) == READY else READY)
        elif step == "r":
            host.remove(name)
        else:
            assert states(known.take(host.list(known))) == host.states
    assert states(known.take(host.list(known))) == host.states
