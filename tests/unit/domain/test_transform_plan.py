"""Decisions on a job's own process that no platform comes to by itself."""

import pytest

from modelyard.domain.fleet import Container, Fleet, Observed, Slot, Variant, placements
from modelyard.domain.transform_plan import Job, JobMemory, JobPlan, StartJob, plan_job

NOW = 1_700_000_000.0
CONTAINER = Container(name="primary", image="i", runtime="sklearn")
VARIANT = Variant(name="", instance_type="", count=1, weight=1.0, containers=(CONTAINER,))
FLEET = Fleet(owner="me", generation=1, created_at=NOW, variants=(VARIANT,))


def planned(process: Slot) -> JobPlan:
    """Of a job whose replica is ready, and whose process is to start."""
    job = Job(owner="me", stopping=False, memory=JobMemory(fleet=FLEET, process=process))
    (worker,) = placements(FLEET, {})
    return plan_job(
        job,
        {worker.id: Observed(state="ready")},
        now=NOW,
        startup_seconds=60.0,
        restart_attempts=3,
        objects_done=0,
    )


@pytest.mark.parametrize("ahead", [0.0, 3600.0])
def test_a_clock_that_was_set_back_while_control_was_away_holds_up_no_process(ahead: float) -> None:
    assert any(isinstance(step, StartJob) for step in planned(Slot(start_at=NOW + ahead)).steps)


def test_a_process_that_died_is_started_when_its_time_has_come() -> None:
    plan = planned(Slot(attempt=2, deaths=2, start_at=NOW + 1.0))
    assert not any(isinstance(step, StartJob) for step in plan.steps)
    assert plan.seconds == 1.0
