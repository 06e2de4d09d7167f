"""Where replicas belong, and when one moves."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import endpoint_moves
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import (
    Container,
    Fleet,
    Observed,
    Slot,
    Variant,
    heirs,
    look_at,
    placements,
)
from modelyard.domain.zones import Homes, choose_zone, unevenness

BOTH = ("a", "b")
CONTAINER = Container(name="primary", image="i", runtime="r")
PAIR = Variant(name="v", instance_type="", count=1, weight=1.0, containers=(CONTAINER,) * 2)
FLEET = Fleet(owner="o", generation=1, created_at=0.0, variants=(PAIR,))


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), zones=st.sampled_from(["ab", "abc"])
)
def test_replicas_of_each_variant_and_of_all_are_spread_evenly(
    counts: list[int], zones: str
) -> None:
    homes: Homes = {}
    for number, count in enumerate(counts):
        for replica in range(count):
            choose_zone((f"v{number}", replica), tuple(zones), homes, {})
    for number in range(len(counts)):
        found = Counter(dict.fromkeys(zones, 0))
        found.update(zone for (variant, _), zone in homes.items() if variant == f"v{number}")
        assert max(found.values()) - min(found.values()) <= 1
    assert unevenness(tuple(zones), homes) is None


def test_single_replicas_of_many_endpoints_go_where_the_least_runs() -> None:
    assert choose_zone(("v", 0), BOTH, {}, {"a": 3, "b": 2}) == "b"
    assert choose_zone(("v", 0), BOTH, {}, {}) == "a"


def test_a_worker_joins_its_siblings_while_their_zone_starts_workers() -> None:
    homes: Homes = {("v", 0): "b", ("v", 1): "b"}
    assert choose_zone(("v", 0), BOTH, homes, {}) == "b"
    assert choose_zone(("v", 0), ("a",), homes, {}) == "a"


@pytest.mark.parametrize(
    ("homes", "move"),
    [
        ({("v", 0): "a", ("v", 1): "a"}, (("v", 1), "b")),
        ({("v", 0): "a", ("v", 1): "a", ("v", 2): "b"}, None),
        ({("v", 0): "a"}, None),
        ({("u", 0): "a", ("v", 0): "a"}, None),
        ({}, None),
    ],
)
def test_a_replica_moves_only_where_that_makes_it_even(
    homes: Homes, move: tuple[tuple[str, int], str] | None
) -> None:
    assert unevenness(BOTH, homes) == move


def test_with_one_zone_nothing_is_chosen_and_nothing_remembered() -> None:
    look = look_at(FLEET, {}, {}, now=5.0, startup_seconds=240, forgiving=True)
    assert {one.zone for one in look.start} == {""}
    assert set(look.slots.values()) == {Slot(start_at=5.0)}


@pytest.mark.parametrize(("settles_at", "moves"), [(90.0, True), (95.0, False), (3_700.0, True)])
def test_a_replica_settles_first_but_not_for_as_long_as_a_clock_was_set_back(
    settles_at: float, moves: bool
) -> None:
    variant = msgspec.structs.replace(PAIR, count=2, containers=(CONTAINER,))
    fleet = msgspec.structs.replace(FLEET, variants=(variant,))
    slots = {one.slot: Slot(start_at=settles_at, zone="a") for one in placements(fleet, {})}
    observed = {one.id: Observed(state="ready", zone="a") for one in placements(fleet, slots)}
    look = look_at(
        fleet, slots, observed, now=100.0, startup_seconds=60.0, forgiving=True, zones=BOTH
    )
    memory = Memory(serving=fleet, slots=slots)
    after = endpoint_moves.begin(memory, look, observed, zones=BOTH, now=100.0)
    assert any(slot.move for slot in after.slots.values()) is moves


def moving(**states: str) -> tuple[dict[str, Slot], dict[str, Observed]]:
    """The first of the pair's workers moves from a to b; the states of who holds its slot, and of the heir."""
    first, second = (placement.slot for placement in placements(FLEET, {}))
    slots = {first: Slot(start_at=1.0, zone="a", move="b"), second: Slot(start_at=1.0, zone="a")}
    holder, other = placements(FLEET, slots)
    (heir,) = heirs(FLEET, slots)
    known = {"holder": holder.id, "heir": heir.id}
    observed = {known[who]: Observed(state=state) for who, state in states.items()}  # type: ignore[arg-type]
    return slots, {other.id: Observed(state="ready", zone="a"), **observed}


def test_who_moves_serves_until_the_heir_is_ready() -> None:
    slots, observed = moving(holder="ready")
    look = look_at(FLEET, slots, observed, now=9.0, startup_seconds=240, forgiving=True, zones=BOTH)
    assert [one.zone for one in look.start] == ["b"]
    assert look.is_ready and not look.retired

    slots, observed = moving(holder="ready", heir="starting")
    look = look_at(FLEET, slots, observed, now=9.0, startup_seconds=240, forgiving=True, zones=BOTH)
    assert look.is_ready and not look.start and not look.retired

    slots, observed = moving(holder="ready", heir="ready")
    (heir,) = heirs(FLEET, slots)
    look = look_at(FLEET, slots, observed, now=9.0, startup_seconds=240, forgiving=True, zones=BOTH)
    assert look.is_ready and heir.id in {one.id for one in look.ready}
    assert len(look.retired) == 1
    assert not list(heirs(FLEET, look.slots))


def test_an_heir_that_fails_or_whose_zone_is_away_changes_nothing() -> None:
    for states, zones in (
        ({"holder": "ready", "heir": "failed"}, BOTH),
        ({"holder": "ready"}, ("a",)),
    ):
        slots, observed = moving(**states)
        (heir,) = heirs(FLEET, slots)
        look = look_at(
            FLEET, slots, observed, now=9.0, startup_seconds=240, forgiving=True, zones=zones
        )
        assert look.is_ready and not look.start
        assert look.retired == [heir.id]
        assert Slot(start_at=9.0, zone="a") in look.slots.values()


def test_an_heir_takes_over_early_where_who_moves_dies() -> None:
    slots, observed = moving(holder="dead", heir="starting")
    look = look_at(FLEET, slots, observed, now=9.0, startup_seconds=240, forgiving=True, zones=BOTH)
    assert not look.start and not look.losses
    assert len(look.retired) == 1
