"""A rollout run on captured traffic: what stops it, at which stage, and that it repeats from its seed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.base.errors import ValidationError
from modelyard.base.ids import SeededRandom
from modelyard.domain.rehearsal import Answered, Course, Exchange, Plan, rehearse
from modelyard.domain.rehearsal_report import report_of, requirement_of, requirements_of
from modelyard.domain.rehearsed_alarms import Fleets, Watched, watched_of
from modelyard.domain.rollout import Policy, Size

BEGIN = 1_700_000_007
FLEETS = Fleets(endpoint="churn", old="v1", new="v2", measured=False)
FINE, FAILED = Answered(200), Answered(500)
CANARY = Policy(
    kind="CANARY",
    size=Size(kind="CAPACITY_PERCENT", value=25),
    wait=300.0,
    termination_wait=120.0,
)


def traffic(
    new: Callable[[int], Answered],
    *,
    old: Callable[[int], Answered] = lambda number: FINE,
    seconds: int = 60,
    rate: int = 10,
) -> list[Exchange]:
    found = []
    for number in range(seconds * rate):
        agrees = old(number) == new(number)
        found.append(
            Exchange(
                event_id=str(number),
                at=BEGIN + number // rate,
                variant="all",
                old=old(number),
                new=new(number),
                agrees=agrees if old(number) == FINE else None,
                drift=0.0 if agrees else None,
            )
        )
    return found


def described(**more: Any) -> dict[str, Any]:
    """An alarm on model errors as DescribeAlarms shows it."""
    return {
        "AlarmName": "errors",
        "Namespace": "AWS/SageMaker",
        "MetricName": "InvocationModelErrors",
        "Dimensions": [
            {"Name": "EndpointName", "Value": "churn"},
            {"Name": "VariantName", "Value": "all"},
        ],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0.005,
        "ComparisonOperator": "GreaterThanThreshold",
        **more,
    }


def of(dimension: str, value: str) -> list[dict[str, str]]:
    return [*described()["Dimensions"], {"Name": dimension, "Value": value}]


def alarm(**more: Any) -> Watched:
    found = watched_of(described(**more), FLEETS)
    assert isinstance(found, Watched), found
    return found


def run(
    exchanges: list[Exchange], *alarms: Watched, policy: Policy = CANARY, seed: int = 1
) -> Course:
    plan = Plan(policy=policy, old={"all": 4}, new={"all": 4}, alarms=alarms)
    return rehearse(exchanges, plan, SeededRandom(seed).uniform)


def test_a_good_candidate_is_promoted_after_every_bake() -> None:
    course = run(traffic(lambda number: FINE), alarm())
    assert (course.outcome, course.seconds) == ("promoted", 420)
    acts = [(one.seconds, one.act) for one in course.events]
    assert acts == [
        (0, "begun"),
        (0, "traffic moved"),
        (300, "bake over"),
        (300, "traffic moved"),
        (420, "promoted"),
    ]
    assert [one.shares["all"] for one in course.events] == [0.0, 0.25, 0.25, 1.0, 1.0]


def test_three_percent_of_errors_stop_it_in_the_canary() -> None:
    course = run(traffic(lambda number: FAILED if number % 33 == 0 else FINE), alarm())
    assert course.outcome == "rolled-back"
    assert course.events[-1].stage == 1
    assert course.seconds < 300
    assert "Alarm errors was in ALARM while stage 1 baked." in course.reason
    assert course.rings[0].reason.startswith("Threshold Crossed: 1 out of the last 1 datapoint")


def test_what_only_full_traffic_shows_stops_it_in_the_last_stage() -> None:
    # A quarter of three percent is below two percent; all of it is not.
    course = run(
        traffic(lambda number: FAILED if number % 33 == 0 else FINE), alarm(Threshold=0.02)
    )
    assert course.outcome == "rolled-back"
    assert course.events[-1].stage == 2


def test_an_alarm_on_the_candidate_alone_sees_it_undiluted() -> None:
    course = run(
        traffic(lambda number: FAILED if number % 33 == 0 else FINE),
        alarm(Threshold=0.02, Dimensions=of("EndpointConfigName", "v2")),
    )
    assert course.events[-1].stage == 1


def test_an_alarm_that_the_old_fleet_has_tripped_ends_it_at_once() -> None:
    course = run(traffic(lambda number: FINE, old=lambda number: FAILED), alarm())
    assert (course.outcome, course.seconds) == ("rolled-back", 0)
    assert course.rings[0].stage == 0


def test_an_alarm_slower_than_the_bake_is_told_of() -> None:
    bad = traffic(lambda number: FAILED if number % 20 == 0 else FINE)
    slow = alarm(Period=300, EvaluationPeriods=3, Threshold=0.03)
    course = run(bad, slow)
    assert course.outcome == "promoted"
    assert course.rings[-1].stage == course.stages + 1
    report = report_of(bad, course, [], tolerance=0.001, measured=False)
    assert report["verdict"] == "stop"
    assert "bake longer than the alarm looks back" in report["because"][0]


def test_an_expression_is_evaluated_as_cloudwatch_does() -> None:
    def query(name: str, metric: str) -> dict[str, Any]:
        stat = {"Namespace": "AWS/SageMaker", "MetricName": metric}
        stat["Dimensions"] = described()["Dimensions"]
        return {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {"Metric": stat, "Period": 60, "Stat": "Sum"},
        }

    plain = described()
    for name in ("Namespace", "MetricName", "Dimensions", "Statistic", "Period"):
        del plain[name]
    plain["Metrics"] = [
        query("errors", "Invocation5XXErrors"),
        query("all", "Invocations"),
        {"Id": "share", "Expression": "errors / all", "ReturnData": True},
    ]
    found = watched_of(plain, FLEETS)
    assert isinstance(found, Watched)
    bad = traffic(lambda number: FAILED if number % 33 == 0 else FINE)
    assert run(bad, found).outcome == "rolled-back"
    assert run(traffic(lambda number: FINE), found).outcome == "promoted"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"MetricName": "ModelLatency"}, "differs from run to run: --latency"),
        ({"MetricName": "OverheadLatency"}, "does not follow from requests"),
        ({"Namespace": "Own"}, "does not follow from requests"),
        ({"Period": 5}, "no multiple of 10"),
        ({"Dimensions": of("EndpointConfigName", "v9")}, "those of no fleet"),
        ({"Dimensions": [{"Name": "EndpointName", "Value": "other"}]}, "does not watch"),
    ],
)
def test_what_cannot_be_rehearsed_says_why(more: dict[str, Any], why: str) -> None:
    found = watched_of(described(**more), FLEETS)
    assert isinstance(found, str)
    assert why in found


def test_latencies_count_when_they_were_measured() -> None:
    measured = Fleets(endpoint="churn", old="v1", new="v2", measured=True)
    slow = watched_of(
        described(
            MetricName="ModelLatency",
            Threshold=50_000.0,
            Dimensions=of("EndpointConfigName", "v2"),
        ),
        measured,
    )
    assert isinstance(slow, Watched)
    for microseconds, outcome in ((80_000.0, "rolled-back"), (20_000.0, "promoted")):
        exchanges = traffic(
            lambda number, took=microseconds: Answered(200, took),  # type: ignore[misc]
            old=lambda number: Answered(200, 10_000.0),
        )
        assert run(exchanges, slow).outcome == outcome
        report = report_of(exchanges, run(exchanges, slow), [], tolerance=0.001, measured=True)
        assert report["latency"]["new"]["p50_ms"] == microseconds / 1000


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    every=st.integers(2, 400),
    seconds=st.integers(1, 200),
    kind=st.sampled_from(["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"]),
)
def test_every_rehearsal_ends_and_repeats_from_its_seed(
    seed: int, every: int, seconds: int, kind: Any
) -> None:
    exchanges = traffic(
        lambda number: FAILED if number % every == 0 else FINE, seconds=seconds, rate=2
    )
    size = Size(kind="CAPACITY_PERCENT", value=25)
    policy = Policy(kind=kind, size=size, wait=60.0, termination_wait=60.0)
    first = run(exchanges, alarm(), policy=policy, seed=seed)
    assert first == run(exchanges, alarm(), policy=policy, seed=seed)
    assert first.outcome in ("promoted", "rolled-back")
    assert all(0.0 <= share <= 1.0 for one in first.events for share in one.shares.values())


def test_a_report_counts_answers_drift_and_errors() -> None:
    exchanges = traffic(lambda number: FAILED if number in (3, 4) else FINE, seconds=10)
    apart = [
        Exchange(
            event_id="apart", at=BEGIN + 10, variant="all", old=FINE, new=FINE, agrees=False, drift=drift
        )
        for drift in (0.123456, 0.25)
    ]  # fmt: skip
    both = [*exchanges, *apart]
    requirements = requirements_of(["agreement>=0.99"], measured=False)
    report = report_of(both, run(both), requirements, tolerance=0.001, measured=False)
    answers = report["answers"]
    assert (answers["compared"], answers["agreed"]) == (102, 98)
    assert answers["beyond_tolerance"] == {"numeric": 2, "p50": 0.25, "p99": 0.25, "max": 0.25}
    assert answers["examples"] == ["3", "4", "apart", "apart"]
    assert report["errors"]["new"] == {"errors_4xx": 0, "errors_5xx": 2, "share": 0.019608}
    assert report["errors"]["increase"] == 0.019608
    assert [one["met"] for one in report["requirements"]] == [False, False]
    assert "latency" not in report


def test_a_requirement_names_a_figure_and_a_bound() -> None:
    assert str(requirement_of(" agreement >= 0.990 ", measured=False)) == "agreement>=0.99"
    assert [str(one) for one in requirements_of(["error_increase<=1"], measured=False)] == [
        "error_increase<=1"
    ]
    for text in ("agreement", "charm>=1", "agreement>=much", "p99_ms_increase<=5"):
        with pytest.raises(ValidationError, match="is no requirement"):
            requirement_of(text, measured=False)
    assert requirement_of("p99_ms_increase<=5", measured=True).bound == 5
