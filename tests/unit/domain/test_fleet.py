import pytest

from modelyard.domain.fleet import (
    Container,
    Fleet,
    Look,
    Observed,
    Slot,
    Slots,
    Variant,
    WorkerState,
    delay_seconds,
    limited_reason,
    look_at,
    place_name,
    placements,
)

CONTAINER = Container(name="primary", image="i", runtime="r")
VARIANT = Variant(name="v", instance_type="", count=1, weight=1.0, containers=(CONTAINER,))
FLEET = Fleet(owner="o", generation=1, created_at=0.0, variants=(VARIANT,))


def look(
    slots: Slots, *, now: float, forgiving: bool = False, it: WorkerState | None = None
) -> Look:
    """Look at the fleet of one worker; ``it`` is the worker's state, None if it is not known."""
    (worker,) = placements(FLEET, slots)
    observed = {worker.id: Observed(state=it)} if it else {}
    return look_at(FLEET, slots, observed, now=now, startup_seconds=240, forgiving=forgiving)


def slot_of(result: Look) -> Slot:
    (slot,) = result.slots.values()
    return slot


def test_the_first_restart_is_at_once_and_no_wait_is_over_a_minute() -> None:
    assert [delay_seconds(deaths) for deaths in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_an_id_changes_with_the_attempt_and_with_nothing_that_is_read_later() -> None:
    (first,) = placements(FLEET, {})
    (again,) = placements(FLEET, {})
    (second,) = placements(FLEET, {first.slot: Slot(attempt=1)})
    assert first.id == again.id != second.id


def test_a_replica_of_several_containers_is_ready_when_all_of_them_are() -> None:
    variant = Variant(
        name="v", instance_type="", count=1, weight=1.0, containers=(CONTAINER, CONTAINER)
    )
    fleet = Fleet(owner="o", generation=1, created_at=0.0, variants=(variant,))
    one, two = placements(fleet, {})
    for states, is_ready in ((("ready", "starting"), False), (("ready", "ready"), True)):
        observed = {
            worker.id: Observed(state=state)  # type: ignore[arg-type]
            for worker, state in zip((one, two), states, strict=True)
        }
        result = look_at(fleet, {}, observed, now=1.0, startup_seconds=240, forgiving=False)
        assert result.is_ready is is_ready


def test_a_worker_that_died_is_retired_and_its_successor_waits() -> None:
    result = look({"1/v/0/0": Slot(deaths=2, start_at=10.0)}, now=11.0, it="dead")
    assert slot_of(result) == Slot(attempt=1, deaths=3, start_at=13.0)
    assert len(result.retired) == 1 and not result.start
    assert not result.losses[0].deterministic


def test_a_long_life_is_rewarded_only_by_a_forgiving_look() -> None:
    slots = {"1/v/0/0": Slot(deaths=4, start_at=10.0)}
    assert slot_of(look(slots, now=200.0, it="dead", forgiving=True)).deaths == 1
    assert slot_of(look(slots, now=200.0, it="dead")).deaths == 5


def test_a_death_after_the_startup_limit_would_happen_again() -> None:
    result = look({"1/v/0/0": Slot(start_at=10.0)}, now=251.0, it="dead")
    assert result.losses[0].deterministic


def test_a_clock_that_was_set_back_postpones_no_start_for_hours() -> None:
    assert look({"1/v/0/0": Slot(start_at=9_000.0)}, now=1_000.0).start
    assert not look({"1/v/0/0": Slot(start_at=1_030.0)}, now=1_000.0).start


def test_a_reason_keeps_its_start_and_its_end() -> None:
    text = limited_reason("a" * 2_000 + "z" * 10)
    assert len(text) == 1024
    assert text.startswith("aaa") and text.endswith("z" * 10)
    assert limited_reason("short") == "short"


def test_a_place_is_named_as_the_user_named_it() -> None:
    assert place_name("AllTraffic", "primary") == "Variant AllTraffic, container primary"
    assert place_name("", "primary") == "Container primary"


@pytest.mark.parametrize(("value", "retries"), [("false", False), ("0", False), ("true", True)])
def test_retry_can_be_disabled_in_the_environment(value: str, retries: bool) -> None:
    container = Container(name="c", image="i", runtime="r", environment={"MODELYARD_RETRY": value})
    variant = Variant(name="v", instance_type="", count=1, weight=1.0, containers=(container,))
    assert variant.retry is retries
