"""A rollout's ledger as tables and as a page."""

from typing import Any

import msgspec

from modelyard.cli import rollout_report
from modelyard.domain.ledger import AlarmSeen, CheckSeen, Decision, Figures, Ledger, Totals
from modelyard.domain.pre_traffic import Tried

BLUE = Figures(answered=90, errors_5xx=9, p50_ms=1.0, p99_ms=2.0, mean_ms=1.2)
GREEN = Figures(answered=10, errors_5xx=5, repeated=1, p50_ms=3.0, p99_ms=9.0, mean_ms=4.0)
TOTALS = Totals(
    accepted=104, refused={"ServiceUnavailable": 2}, left=1, cut=1, blue=BLUE, green=GREEN
)


def ledger(**changes: Any) -> dict[str, Any]:
    alarm = AlarmSeen(
        name="<errors>",
        state="ALARM",
        reason="Threshold Crossed",
        rule="Sum > 1",
        values=[0.5, 2.0],
    )
    decisions = [
        Decision(
            at=at, act=act, why="because", stage=1, stages=2, elapsed=0.0, shares={"all": share},
            alarms=[alarm], totals=TOTALS,
        )
        for at, act, share in ((100.0, "begun", 0.0), (103.0, "traffic moved", 0.5),
                               (110.0, "rolled back", 0.0))
    ]  # fmt: skip
    found = Ledger(
        id="x",
        kind="CANARY",
        from_config="v1",
        to_config="v2",
        began=100.0,
        ended=110.0,
        outcome="rolled back",
        reason="Alarm <errors> was in ALARM",
        closed=True,
        decisions=decisions,
        totals=TOTALS,
    )
    built: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(found, **changes))
    return built


def test_the_requests_of_a_closed_ledger_add_up() -> None:
    rows = dict(rollout_report.requests(ledger()))
    parts = [int(count) for name, count in rows.items() if name.startswith("  ")]
    assert int(rows["accepted"]) == sum(parts)
    assert rows["lost"] == "0"
    assert rows["executed again after a worker's death"] == "1"


def test_both_fleets_stand_beside_their_difference() -> None:
    rows = {row[0]: row[1:] for row in rollout_report.fleets(ledger())}
    assert rows["errors 5xx"] == ("9 (10.00 %)", "5 (50.00 %)", "+40.00 points")
    assert rows["model latency, p99"] == ("2.00 ms", "9.00 ms", "+7.00 ms")


def test_a_fleet_without_answers_has_no_difference() -> None:
    rows = rollout_report.fleets(ledger(totals=Totals(blue=BLUE)))
    assert {row[0]: row[3] for row in rows}["model latency, p50"] == ""


def test_a_decision_shows_the_values_of_its_alarms() -> None:
    *_, last = rollout_report.decisions(ledger())
    assert last[0] == "+10.0 s"
    assert "newest: 0.5, 2" in last[-1]
    assert "Threshold Crossed" in last[-1]


def test_a_terminal_shows_an_alarms_newest_value_alone() -> None:
    briefly = rollout_report.decisions(ledger(), alarm=rollout_report._alarm_briefly)
    assert briefly[-1][-1] == "<errors> ALARM 2"


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    page = rollout_report.page({"endpoint": "a<b", "rollouts": [ledger()]})
    assert "a&lt;b" in page
    assert "<errors>" not in page
    assert "<polyline" in page
    assert "http" not in page.replace('<html lang="en">', "")
    empty = rollout_report.page({"endpoint": "e", "rollouts": []})
    assert "Nothing has been rolled out" in empty


def test_an_open_ledger_says_what_is_in_flight() -> None:
    running = ledger(closed=False, ended=0.0, outcome="running", reason="")
    assert dict(rollout_report.requests(running))["  in flight"] == "0"
    assert "open" in dict(rollout_report.headline(running))["ledger"]
    assert "<svg" in rollout_report.page({"endpoint": "e", "rollouts": [running]})


def test_checks_and_the_test_before_traffic_stand_in_the_report() -> None:
    check = CheckSeen(
        name="<slower>", rule="new / old <= 1.2", passed=1, failed=2, inconclusive=1, last="failed",
        values=[1.1, None, 3.0, 4.0], inputs={"new": 8.0, "old": 2.0},
    )  # fmt: skip
    tried = ledger(checks=[check], test=Tried(sent=4, passed=4, slowest_ms=12.4))
    rows = rollout_report.checks(tried)
    assert rows == [
        ("<slower>", "new / old <= 1.2", "1", "2", "1", "1.1, none, 3, 4", "new 8, old 2")
    ]
    told = dict(rollout_report.headline(tried))["test before traffic"]
    assert told == "4 of 4 answers were as they should be, the slowest in 12 ms"
    assert "&lt;slower&gt;" in rollout_report.page({"endpoint": "e", "rollouts": [tried]})
