"""``modelyard simulate scaling``: what it is given, and what it prints."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelyard.cli.main import app_of
from modelyard.cli.platform import CommandFailed
from modelyard.cli.scenario import Bounds, read_scenario
from modelyard.domain.scaling.load_model import Replica

PREDEFINED = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
TRACKING = {"TargetValue": 300, "PredefinedMetricSpecification": PREDEFINED}
STEP_POLICY = {
    "PolicyName": "wake",
    "PolicyType": "StepScaling",
    "StepScalingPolicyConfiguration": {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    },
}
WAKE_ALARM = {
    "AlarmName": "backlog-without-capacity",
    "Namespace": "AWS/SageMaker",
    "MetricName": "HasBacklogWithoutCapacity",
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 2,
    "Threshold": 0.5,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "AlarmActions": ["wake"],
}


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: Any) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def run(self, policy: Any, trace: str, *options: str) -> Any:
        arguments = ["--policy", self.write("policy.json", policy)]
        arguments += ["--trace", self.write("trace.csv", trace)]
        return CliRunner().invoke(
            app_of(("simulate",)), ["simulate", "scaling", *arguments, *options]
        )

    def report(self, policy: Any, trace: str, *options: str) -> dict[str, Any]:
        result = self.run(policy, trace, "--json", *options)
        assert result.exit_code == 0, result.output
        report: dict[str, Any] = json.loads(result.output)
        return report


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def trace(*per_minute: float) -> str:
    lines = [f"{60 * minute},{count}" for minute, count in enumerate(per_minute)]
    return "time,requests\n" + "\n".join(lines) + "\n"


def test_the_same_input_gives_the_same_bytes(files: Files, tmp_path: Path) -> None:
    picture, other = tmp_path / "one.svg", tmp_path / "other.svg"
    load = trace(*[100 + 40 * (minute % 30) for minute in range(120)])
    first = files.run(TRACKING, load, "--json", "--svg", str(picture))
    second = files.run(TRACKING, load, "--json", "--svg", str(other))
    assert first.stdout_bytes == second.stdout_bytes
    assert picture.read_bytes() == other.read_bytes()
    root = ElementTree.fromstring(picture.read_text())
    assert root.tag.endswith("svg")
    assert len(root.findall("{*}polyline")) == 4


def test_a_load_that_grows_is_followed_and_the_bill_is_shown(files: Files) -> None:
    report = files.report(TRACKING, trace(*[100] * 10, *[1_500] * 30), "--dollars-per-hour", "2")
    assert report["summary"]["capacity_min"] == 1
    assert report["summary"]["capacity_max"] == 5
    assert report["summary"]["dollars"] == pytest.approx(
        2 * report["summary"]["instance_hours"], abs=1e-3
    )
    assert sum(minute["arrived"] for minute in report["minutes"]) == pytest.approx(46_000)
    assert report["activities"][0]["details"]["target"] == 300


def test_the_table_names_what_was_done_and_why_not(files: Files) -> None:
    result = files.run(TRACKING, trace(*[100] * 30, *[1_500] * 20))
    assert result.exit_code == 0, result.output
    assert "Successful" in result.output
    assert "AlreadyAtMinCapacity" in result.output
    assert "instance hours" in result.output


def test_an_endpoint_at_zero_wakes_by_a_step_policy(files: Files) -> None:
    scenario = {
        "MinCapacity": 0,
        "MaxCapacity": 3,
        "ScalingPolicies": [STEP_POLICY],
        "Alarms": [WAKE_ALARM],
    }
    report = files.report(scenario, trace(0, 0, 0, 5, 0, 0, 0, 0, 0, 0))
    assert [minute["in_service"] for minute in report["minutes"]][-1] == 1
    assert report["minutes"][-1]["queue"] == 0
    assert "backlog-without-capacity" in report["activities"][0]["cause"]


def test_scheduled_actions_set_the_range(files: Files) -> None:
    scenario = {
        "MinCapacity": 1,
        "MaxCapacity": 5,
        "ScheduledActions": [
            {
                "ScheduledActionName": "peak",
                "Schedule": "cron(5 0 * * ? *)",
                "ScalableTargetAction": {"MinCapacity": 4},
            }
        ],
    }
    report = files.report(scenario, trace(*[10] * 10))
    assert [minute["desired"] for minute in report["minutes"]] == [1] * 5 + [4] * 5


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("{", "no JSON"),
        ("[]", "object"),
        ({"Nonsense": 1}, "unknown member Nonsense"),
        ({"TargetValue": "high", "PredefinedMetricSpecification": PREDEFINED}, "TargetValue"),
        ({"TargetValue": 1}, "Give either"),
        ({"ScalingPolicies": [{"PolicyName": "p"}]}, "no configuration"),
        ({"MinCapacity": 5, "MaxCapacity": 1}, "Maximum capacity"),
        ({"Alarms": [WAKE_ALARM]}, "acts on no policy"),
        (
            {"ScalingPolicies": [STEP_POLICY], "Alarms": [{**WAKE_ALARM, "MetricName": "x"}]},
            "not emit x",
        ),
        (
            {"ScalingPolicies": [STEP_POLICY], "Alarms": [{**WAKE_ALARM, "Period": 15}]},
            "multiple of 10",
        ),
        (
            {"ScheduledActions": [{"ScheduledActionName": "a", "Schedule": "rate(0 days)"}]},
            "Invalid schedule",
        ),
    ],
)
def test_what_is_wrong_with_a_policy_file_is_said(files: Files, policy: Any, text: str) -> None:
    path = Path(files.write("policy.json", policy))
    with pytest.raises(CommandFailed, match=text):
        read_scenario(path, Replica(), Bounds(), start=0.0)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a,b\n1,2\n", "header"),
        ("time,requests\n0,1\n", "two rows"),
        ("time,requests\n0,1\n60,many\n", "Row 3"),
        ("time,requests\n0,1\n0,1\n", "later"),
        ("time,requests\n0,1\n60,-1\n", "0 or more"),
        ("time,requests\n0,1\n9000000,1\n", "at most 32 days"),
    ],
)
def test_what_is_wrong_with_a_trace_is_said(files: Files, content: str, text: str) -> None:
    result = files.run(TRACKING, content)
    assert isinstance(result.exception, CommandFailed)
    assert text in str(result.exception.message)


def test_times_of_a_trace_may_be_dates(files: Files) -> None:
    load = "time,requests\n2026-05-01T08:00:00,60\n2026-05-01T08:01:00,60\n"
    report = files.report(TRACKING, load)
    assert report["started_at"] == 1_777_622_400.0
    assert len(report["minutes"]) == 2
