"""at, rate and cron expressions, in time zones."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from modelyard.base.errors import ValidationError
from modelyard.domain.scaling.schedules import last_run, next_run, parse, zone

UTC = ZoneInfo("UTC")


def at(text: str, timezone: str = "UTC") -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp()


def following(expression: str, after: str, timezone: str = "UTC") -> str | None:
    name = zone(timezone)
    found = next_run(parse(expression), name, after=at(after, timezone), start=0.0)
    if found is None:
        return None
    return dt.datetime.fromtimestamp(found, tz=name).strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("at(2026-03-01T08:30:00)", "2026-02-01", "2026-03-01T08:30"),
        ("at(2026-03-01T08:30:00)", "2026-03-02", None),
        ("cron(0 9 * * ? *)", "2026-01-01T09:00", "2026-01-02T09:00"),
        ("cron(*/15 * ? * MON-FRI *)", "2026-01-02T23:50", "2026-01-05T00:00"),
        ("cron(0 0 L * ? *)", "2026-02-01", "2026-02-28T00:00"),
        ("cron(0 0 29 2 ? *)", "2026-03-01", "2028-02-29T00:00"),
        ("cron(0 0 15W * ? *)", "2026-08-01", "2026-08-14T00:00"),
        ("cron(0 0 1W * ? *)", "2026-07-31T12:00", "2026-08-03T00:00"),
        ("cron(0 0 LW * ? *)", "2026-05-01", "2026-05-29T00:00"),
        ("cron(0 0 ? * 6L *)", "2026-01-01", "2026-01-30T00:00"),
        ("cron(0 0 ? * TUE#2 *)", "2026-01-01", "2026-01-13T00:00"),
        ("cron(30 6 1 JAN,JUL ? 2027)", "2026-01-01", "2027-01-01T06:30"),
        ("cron(0 0 1 1 ? 2020)", "2026-01-01", None),
    ],
)
def test_the_next_run_follows_the_expression(
    expression: str, after: str, expected: str | None
) -> None:
    assert following(expression, after) == expected


def test_a_rate_counts_from_the_start() -> None:
    schedule = parse("rate(90 minutes)")
    start = at("2026-01-01T00:10:00")
    found = next_run(schedule, UTC, after=at("2026-01-01T02:00:00"), start=start)
    assert found == at("2026-01-01T03:10:00")


def test_cron_follows_local_time_over_a_change_to_summer_time() -> None:
    schedule, timezone = parse("cron(0 9 * * ? *)"), zone("Europe/Madrid")
    before = next_run(schedule, timezone, after=at("2026-03-27T12:00:00"), start=0.0)
    after = next_run(schedule, timezone, after=at("2026-03-28T12:00:00"), start=0.0)
    assert before == at("2026-03-28T08:00:00")
    assert after == at("2026-03-29T07:00:00")


def test_a_local_time_that_is_skipped_runs_right_after_the_gap() -> None:
    schedule, timezone = parse("cron(30 2 * * ? *)"), zone("Europe/Madrid")
    found = next_run(schedule, timezone, after=at("2026-03-28T12:00:00"), start=0.0)
    assert found == at("2026-03-29T01:00:00")


def test_a_local_time_that_occurs_twice_runs_once() -> None:
    schedule, timezone = parse("cron(30 2 * * ? *)"), zone("Europe/Madrid")
    first = next_run(schedule, timezone, after=at("2026-10-24T12:00:00"), start=0.0)
    assert first == at("2026-10-25T00:30:00")
    second = next_run(schedule, timezone, after=first, start=0.0)
    assert second == at("2026-10-26T01:30:00")


def test_runs_are_bounded_by_start_and_end() -> None:
    schedule = parse("cron(0 * * * ? *)")
    noon, one = at("2026-01-01T12:00:00"), at("2026-01-01T13:00:00")
    assert next_run(schedule, UTC, after=0.0, start=noon, end=one) == noon
    assert next_run(schedule, UTC, after=noon, start=noon, end=one) == one
    assert next_run(schedule, UTC, after=one, start=noon, end=one) is None


def test_of_all_runs_that_were_missed_the_last_counts() -> None:
    begin, end = at("2026-01-01T00:00:00"), at("2026-01-20T11:59:30")
    for expression, expected in (
        ("cron(* * * * ? *)", "2026-01-20T11:59:00"),
        ("cron(0 9 * * ? *)", "2026-01-20T09:00:00"),
        ("cron(0 0 ? * THU *)", "2026-01-15T00:00:00"),
        ("rate(1 minute)", "2026-01-20T11:59:00"),
    ):
        found = last_run(parse(expression), UTC, after=begin, until=end, start=begin)
        assert found == at(expected), expression


@pytest.mark.parametrize(
    "expression",
    [
        "every day",
        "at(tomorrow)",
        "rate(0 minutes)",
        "rate(5 weeks)",
        "cron(0 9 * * *)",
        "cron(0 9 * * * *)",
        "cron(61 9 * * ? *)",
        "cron(0 9 ? * XYZ *)",
        "cron(0/0 9 * * ? *)",
        "cron(0 9 ? * 8 *)",
        "cron(5-1 9 * * ? *)",
    ],
)
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(ValidationError, match="Invalid schedule"):
        parse(expression)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="IANA"):
        zone("Mars/Olympus")
