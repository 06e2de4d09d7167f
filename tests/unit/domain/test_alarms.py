"""AWS's own tables of what a missing data point means, row by row, and the texts."""

import json

import pytest

from modelyard.domain.alarms import Rule, State, evaluate, reason_data

ROWS = [
    # points of five periods (oldest first), needed of 3, and the state for
    # missing, ignore, breaching, notBreaching; K: the state is kept.
    ("0-X-X", 3, "OK OK OK OK"),
    ("----0", 3, "OK OK OK OK"),
    ("-----", 3, "INSUFFICIENT_DATA K ALARM OK"),
    ("0XX-X", 3, "ALARM ALARM ALARM ALARM"),
    ("--X--", 3, "ALARM K ALARM OK"),
    ("0-X-X", 2, "ALARM ALARM ALARM ALARM"),
    ("00X0X", 2, "ALARM ALARM ALARM ALARM"),
    ("0-X--", 2, "OK OK ALARM OK"),
    ("----0", 2, "OK OK ALARM OK"),
    ("---X-", 2, "ALARM K ALARM OK"),
    ("----X", 3, "K K ALARM OK"),
]


@pytest.mark.parametrize("before", ["OK", "ALARM", "INSUFFICIENT_DATA"])
@pytest.mark.parametrize(("drawn", "needed", "states"), ROWS)
def test_missing_points_are_treated_as_the_table_says(
    drawn: str, needed: int, states: str, before: State
) -> None:
    points = {place * 60: float(mark == "X") for place, mark in enumerate(drawn) if mark != "-"}
    for missing, state in zip(
        ("missing", "ignore", "breaching", "notBreaching"), states.split(), strict=True
    ):
        rule = Rule(
            comparison="GreaterThanThreshold",
            threshold=0.5,
            period=60,
            periods=3,
            needed=needed,
            missing=missing,  # type: ignore[arg-type]
        )
        found = evaluate(rule, points, end=300, before=before)
        assert found.state == (before if state == "K" else state), missing


RULE = Rule(comparison="GreaterThanThreshold", threshold=5.0, period=60, periods=3, needed=2)


def test_the_reason_names_the_points_and_the_threshold() -> None:
    verdict = evaluate(RULE, {0: 1.0, 60: 6.0, 120: 7.5}, end=180, before="OK")
    assert verdict.state == "ALARM"
    assert verdict.reason == (
        "Threshold Crossed: 2 out of the last 3 datapoints [7.5 (01/01/70 00:02:00), "
        "6.0 (01/01/70 00:01:00), 1.0 (01/01/70 00:00:00)] were greater than the threshold (5.0) "
        "(minimum 2 datapoints for OK -> ALARM transition)."
    )
    data = json.loads(reason_data(RULE, verdict, now=200.0, statistic="Average"))
    assert data["recentDatapoints"] == [1.0, 6.0, 7.5]
    assert (data["version"], data["threshold"], data["period"]) == ("1.0", 5.0, 60)


def test_without_any_data_the_reason_says_so() -> None:
    verdict = evaluate(RULE, {}, end=180, before="OK")
    assert verdict.reason == "Insufficient Data: 3 datapoints were unknown."


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        ("GreaterThanThreshold", [6.0]),
        ("GreaterThanOrEqualToThreshold", [5.0, 6.0]),
        ("LessThanThreshold", [4.0]),
        ("LessThanOrEqualToThreshold", [4.0, 5.0]),
    ],
)
def test_every_comparison(comparison: str, breaching: list[float]) -> None:
    rule = Rule(comparison=comparison, threshold=5.0, period=60, periods=1, needed=1)
    for value in (4.0, 5.0, 6.0):
        found = evaluate(rule, {0: value}, end=60, before="OK")
        assert (found.state == "ALARM") == (value in breaching)
