"""The sequences of AWS's deployment guardrails, as its documentation tells them."""

import msgspec
import pytest

from modelyard.domain.rollout import Facts, Policy, Rollout, Size, advance, extent, shares, stages


def percent(value: int) -> Size:
    return Size(kind="CAPACITY_PERCENT", value=value)


def way(policy: Policy, count: int = 10) -> list[tuple[int, int, float]]:
    """Green on, blue on, bake of each stage."""
    found = stages(policy, {"v": count}, {"v": count})
    return [(stage.green["v"], stage.blue["v"], stage.bake) for stage in found]


def test_all_at_once_shifts_everything_and_bakes_until_termination() -> None:
    assert way(Policy(termination_wait=120.0)) == [(10, 0, 120.0)]


def test_a_canary_goes_ahead_and_the_rest_follows() -> None:
    policy = Policy(kind="CANARY", size=percent(30), wait=300.0, termination_wait=60.0)
    assert way(policy) == [(3, 7, 300.0), (10, 0, 60.0)]


def test_linear_steps_turn_off_as_much_blue_as_they_turn_on_green() -> None:
    policy = Policy(kind="LINEAR", size=percent(33), wait=10.0, termination_wait=60.0)
    assert way(policy) == [(3, 7, 10.0), (6, 4, 10.0), (9, 1, 10.0), (10, 0, 60.0)]


def test_a_single_instance_as_canary_shares_the_traffic() -> None:
    policy = Policy(kind="CANARY", size=percent(50), wait=5.0)
    assert way(policy, count=1) == [(1, 1, 5.0), (1, 0, 0.0)]
    rollout = Rollout(policy=policy, blue={"v": 1}, green={"v": 1}, shifted=True)
    assert shares(extent(rollout), "v") == (0.5, 0.5)


def test_each_variant_is_stepped_by_its_own_capacity() -> None:
    policy = Policy(kind="LINEAR", size=percent(50), wait=1.0)
    counts = {"big": 4, "small": 2}
    first = stages(policy, counts, counts)[0]
    assert first.green == {"big": 2, "small": 1}
    assert first.blue == {"big": 2, "small": 1}


def test_rolling_adds_a_batch_and_takes_a_batch_away() -> None:
    policy = Policy(kind="ROLLING", size=percent(25), wait=10.0)
    assert way(policy, count=4) == [(1, 3, 10.0), (2, 2, 10.0), (3, 1, 10.0), (4, 0, 10.0)]
    begun = Rollout(policy=policy, blue={"v": 4}, green={"v": 4})
    assert (extent(begun).blue, extent(begun).green) == ({"v": 4}, {"v": 1})
    second = msgspec.structs.replace(begun, stage=1)
    assert (extent(second).blue, extent(second).green) == ({"v": 3}, {"v": 2})


def look(rollout: Rollout, **facts: object) -> Facts:
    now = extent(rollout)
    known = {"watched": 0.0, "green_ready": now.green, "blue_ready": now.blue, **facts}
    return Facts(**known)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ALL_AT_ONCE", "CANARY", "LINEAR"])
def test_an_alarm_that_rang_before_the_start_ends_the_first_bake(kind: str) -> None:
    policy = msgspec.convert(
        {"kind": kind, "alarms": ["a"], "size": percent(50)}, Policy, from_attributes=True
    )
    rollout = Rollout(policy=policy, blue={"v": 2}, green={"v": 2})
    rollout, outcome = advance(rollout, look(rollout, ringing=("a",)))
    assert (rollout.shifted, outcome) == (True, "running")
    rollout, outcome = advance(rollout, look(rollout, ringing=("a",)))
    assert outcome == "rolled-back"
    assert "Alarm a" in rollout.back


def test_an_alarm_in_the_termination_wait_still_goes_back() -> None:
    policy = Policy(termination_wait=60.0, alarms=("a",))
    rollout = Rollout(policy=policy, blue={"v": 1}, green={"v": 1}, shifted=True, baked=59.0)
    assert advance(rollout, look(rollout, watched=0.5, ringing=("a",)))[1] == "rolled-back"
    assert advance(rollout, look(rollout, watched=1.0))[1] == "promoted"


def test_green_that_never_gets_healthy_goes_back_with_its_reason() -> None:
    rollout = Rollout(policy=Policy(), blue={"v": 1}, green={"v": 1})
    rollout, outcome = advance(rollout, look(rollout, failure="did not pass the ping health check"))
    assert (outcome, rollout.back) == ("rolled-back", "did not pass the ping health check")


def test_time_out_counts_watched_seconds() -> None:
    rollout = Rollout(policy=Policy(timeout=600.0), blue={"v": 1}, green={"v": 1}, elapsed=590.0)
    assert advance(rollout, look(rollout, watched=9.0, green_ready={}))[1] == "running"
    rollout, outcome = advance(rollout, look(rollout, watched=10.0, green_ready={}))
    assert outcome == "rolled-back"
    assert "600 seconds" in rollout.back


def test_a_person_may_hold_a_bake_end_it_or_go_back() -> None:
    policy = Policy(kind="CANARY", size=percent(50), wait=60.0)
    rollout = Rollout(policy=policy, blue={"v": 2}, green={"v": 2}, shifted=True)
    held, outcome = advance(rollout, look(rollout, watched=500.0, hold=True))
    assert (held.stage, held.baked, outcome) == (0, 0.0, "running")
    gone, _ = advance(rollout, look(rollout, go=True))
    assert gone.stage == 1
    assert advance(rollout, look(rollout, abort=True))[1] == "rolled-back"


def test_a_rolling_update_goes_back_in_batches_and_may_fail_at_it() -> None:
    policy = Policy(
        kind="ROLLING",
        size=percent(25),
        rollback_size=Size(kind="INSTANCE_COUNT", value=1),
        wait=1.0,
    )
    rollout = Rollout(policy=policy, blue={"v": 4}, green={"v": 4}, stage=1, shifted=True)
    rollout, outcome = advance(rollout, look(rollout, abort=True))
    seen = [(extent(rollout).blue["v"], extent(rollout).green_on["v"])]
    while outcome == "running":
        rollout, outcome = advance(rollout, look(rollout))
        seen.append((extent(rollout).blue["v"], extent(rollout).green_on["v"]))
    assert outcome == "rolled-back"
    assert [blue for blue, _ in seen] == sorted(blue for blue, _ in seen)
    assert seen[-1][0] == 4
    stuck = Rollout(policy=policy, blue={"v": 4}, green={"v": 4}, stage=1, shifted=True, back="x")
    failed, outcome = advance(stuck, look(stuck, watched=5.0, blue_failure="cannot start"))
    assert outcome == "rollback-failed"
    assert failed == stuck, "there is nothing new to write, however long it stays so"


def test_a_gate_holds_traffic_until_a_person_opens_it_and_each_step_has_its_own() -> None:
    policy = Policy(kind="CANARY", size=percent(50), gate="each-step")
    rollout = Rollout(policy=policy, blue={"v": 2}, green={"v": 2})
    for stage in (0, 1):
        rollout, outcome = advance(rollout, look(rollout, watched=1000.0, passed=stage - 1))
        assert (rollout.at_gate, rollout.shifted, rollout.stage) == (True, False, stage)
        rollout, _ = advance(rollout, look(rollout, passed=stage))
        assert (rollout.at_gate, rollout.shifted, rollout.stage) == (False, True, stage)
        rollout, outcome = advance(rollout, look(rollout, passed=stage))
    assert outcome == "promoted"


def test_a_gate_before_traffic_is_the_first_stage_s_alone_and_the_time_out_passes_it() -> None:
    policy = Policy(kind="CANARY", size=percent(50), gate="before-traffic", timeout=60.0)
    rollout = Rollout(policy=policy, blue={"v": 2}, green={"v": 2})
    waiting, _ = advance(rollout, look(rollout, watched=30.0))
    assert waiting.at_gate
    assert advance(waiting, look(waiting, watched=30.0))[1] == "rolled-back"
    later = msgspec.structs.replace(rollout, stage=1)
    assert advance(later, look(later))[0].shifted


def test_green_that_is_not_ready_is_not_at_its_gate() -> None:
    rollout = Rollout(policy=Policy(gate="each-step"), blue={"v": 2}, green={"v": 2})
    rollout, _ = advance(rollout, look(rollout, green_ready={"v": 1}))
    assert not rollout.at_gate


def test_a_dry_run_alarm_is_noted_where_it_first_rang_and_sends_nothing_back() -> None:
    policy = Policy(kind="CANARY", size=percent(50), wait=60.0, alarms=("a",), dry_run=("b",))
    rollout = Rollout(policy=policy, blue={"v": 2}, green={"v": 2})
    rollout, _ = advance(rollout, look(rollout, ringing=("b",)))
    assert rollout.noted == {}, "nothing baked yet"
    rollout, outcome = advance(rollout, look(rollout, watched=60.0, ringing=("b",)))
    assert (rollout.noted, outcome) == ({"b": 0}, "running")
    rollout, outcome = advance(rollout, look(rollout, ringing=("b",)))
    rollout, outcome = advance(rollout, look(rollout, ringing=("b",)))
    assert (rollout.noted, outcome) == ({"b": 0}, "promoted")
    assert advance(rollout, look(rollout, ringing=("a", "b")))[0].back.startswith("Alarm a was")
