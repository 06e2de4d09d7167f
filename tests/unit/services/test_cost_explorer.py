"""What was metered, by day, month, service and more; with prices that the user can edit."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.domain.usage import amount, text_units, text_units_of_all
from modelyard.services.cost_explorer import CostExplorer
from modelyard.services.metering import Metering, read_prices
from modelyard.store.usage import TooMuchUsage, Usage
from modelyard.testing.clock import ManualClock

START = 1_769_860_800.0  # 2026-01-31 12:00 UTC
PERIOD = {"Start": "2026-01-01", "End": "2026-03-01"}


class Recorded:
    """Keeps what is recorded; reads it back."""

    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}
        self.fails = False

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        if self.fails:
            raise TooMuchUsage("full")
        self.used.setdefault(usage_id, usage)

    def read(self, account: str, *, start: str, end: str) -> list[Usage]:
        return [
            one for one in self.used.values() if one.account == account and start <= one.day < end
        ]


def call(operation: str = "DetectSentiment", **other: Any) -> Call:
    principal = Principal(kind="root", arn="", id="1", account="1")
    given: dict[str, Any] = {"request_id": "q1", "region": "eu-west-1", **other}
    return Call(
        principal=principal, account="1", action=f"comprehend:{operation}", deadline=0.0, **given
    )


class World:
    def __init__(self, prices: Path = Path("/nowhere")) -> None:
        self.clock = ManualClock(START)
        self.store = Recorded()
        self.metering = Metering(usage=self.store, clock=self.clock)
        self.explorer = CostExplorer(
            usage=self.store, prices=lambda: read_prices(prices), clock=self.clock
        )

    def meter(self, which: Call, quantity: float = 3, usage_type: str = "DetectSentiment") -> None:
        self.metering.meter(which, usage_type=usage_type, quantity=quantity, unit="Unit")

    def ask(self, **given: Any) -> Any:
        arguments = {
            "time_period": PERIOD, "granularity": "MONTHLY", "metrics": ["UnblendedCost", "UsageQuantity"], **given,
        }  # fmt: skip
        return asyncio.run(self.explorer.get_cost_and_usage(call("x"), **arguments))[
            "ResultsByTime"
        ]


def test_units_are_awss() -> None:
    assert [text_units("x" * n) for n in (1, 300, 301, 550)] == [3, 3, 4, 6]
    assert text_units_of_all(["a", "b" * 500]) == 8
    assert [amount(x) for x in (0.0, 0.0001, 3.0, 12.50)] == ["0", "0.0001", "3", "12.5"]


def test_a_repeated_request_is_metered_once_and_another_one_again() -> None:
    world = World()
    world.meter(call(invocation_id="same", request_id="a"))
    world.meter(call(invocation_id="same", request_id="b"))
    world.meter(call(request_id="c"))
    world.meter(call(request_id="c"))
    (january, february) = world.ask()
    assert january["Total"]["UsageQuantity"] == {"Amount": "6", "Unit": "Unit"}
    assert january["Total"]["UnblendedCost"] == {"Amount": "0.0006", "Unit": "USD"}
    assert february["Total"]["UsageQuantity"] == {"Amount": "0", "Unit": "N/A"}
    assert (january["Estimated"], february["Estimated"]) == (True, True)


def test_groups_and_filters() -> None:
    world = World()
    world.meter(call("DetectSentiment"))
    world.meter(call("DetectSyntax"), 5, "DetectSyntax")
    world.meter(call("DetectSyntax", region="us-east-1", request_id="z"), 7, "DetectSyntax")
    by = [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "REGION"}]
    groups = world.ask(group_by=by)[0]["Groups"]
    assert [(one["Keys"], one["Metrics"]["UsageQuantity"]["Amount"]) for one in groups] == [
        (["Amazon Comprehend", "eu-west-1"], "8"),
        (["Amazon Comprehend", "us-east-1"], "7"),
    ]

    def total(expression: Any) -> str:
        text: str = world.ask(filter=expression)[0]["Total"]["UsageQuantity"]["Amount"]
        return text

    syntax = {"Dimensions": {"Key": "OPERATION", "Values": ["DetectSyntax"]}}
    far = {"Dimensions": {"Key": "REGION", "Values": ["us-east-1"]}}
    assert total(syntax) == "12"
    assert total({"And": [syntax, {"Not": far}]}) == "5"
    assert total({"Or": [far, {"Not": syntax}]}) == "10"


def test_the_values_of_a_dimension_are_what_was_used() -> None:
    world = World()
    for number, (name, quantity) in enumerate((("DetectSyntax", 5), ("DetectSentiment", 30))):
        world.meter(call(name, request_id=str(number)), quantity, name)
    world.meter(call("Other", region="us-east-1", request_id="9"), 7, "Other")

    def ask(**given: Any) -> Any:
        asked = {"time_period": PERIOD, "dimension": "OPERATION", **given}
        return asyncio.run(world.explorer.get_dimension_values(call("x"), **asked))

    def values(**given: Any) -> list[str]:
        return [one["Value"] for one in ask(**given)["DimensionValues"]]

    assert values() == ["DetectSentiment", "DetectSyntax", "Other"]
    assert values(search_string="detect") == ["DetectSentiment", "DetectSyntax"]
    assert values(dimension="SERVICE") == ["Amazon Comprehend"]
    far = {"Dimensions": {"Key": "REGION", "Values": ["us-east-1"]}}
    assert values(filter=far) == ["Other"]
    assert values(time_period={"Start": "2025-01-01", "End": "2025-02-01"}) == []

    most = {"sort_by": [{"Key": "UsageQuantity", "SortOrder": "DESCENDING"}], "max_results": 2}
    page = ask(**most)
    assert [one["Value"] for one in page["DimensionValues"]] == ["DetectSentiment", "Other"]
    assert (page["ReturnSize"], page["TotalSize"]) == (2, 3)
    token = page["NextPageToken"]
    assert values(**most, next_page_token=token) == ["DetectSyntax"]
    for given, error in (
        ({"dimension": "AZ"}, "UnsupportedOperation"),
        ({"context": "RESERVATIONS"}, "UnsupportedOperation"),
        ({"sort_by": [{"Key": "Cost"}]}, "ValidationException"),
        ({"next_page_token": "none of ours"}, "InvalidNextTokenException"),
        ({"next_page_token": token}, "RequestChangedException"),
    ):
        with pytest.raises(ServiceError) as caught:
            ask(**given)
        assert caught.value.code == error


def test_days_are_utc_days() -> None:
    world = World()
    world.meter(call(request_id="a"))
    world.clock.advance(12 * 3600)
    world.meter(call(request_id="b"))
    days = world.ask(granularity="DAILY", time_period={"Start": "2026-01-31", "End": "2026-02-03"})
    assert [one["Total"]["UsageQuantity"]["Amount"] for one in days] == ["3", "3", "0"]
    assert days[0] == {**days[0], "TimePeriod": {"Start": "2026-01-31", "End": "2026-02-01"}}
    assert [one["Estimated"] for one in days] == [False, True, True]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"time_period": {"Start": "yesterday", "End": "2026-02-01"}}, "ValidationException"),
        ({"time_period": {"Start": "2026-02-01", "End": "2026-02-01"}}, "ValidationException"),
        ({"time_period": {"Start": "2000-02-01", "End": "2026-02-01"}}, "ValidationException"),
        ({"metrics": ["Cost"]}, "ValidationException"),
        ({"metrics": []}, "ValidationException"),
        ({"granularity": "HOURLY"}, "UnsupportedOperation"),
        ({"group_by": [{"Type": "DIMENSION", "Key": "AZ"}]}, "UnsupportedOperation"),
        ({"group_by": [{"Type": "TAG", "Key": "x"}]}, "UnsupportedOperation"),
        ({"filter": {"Tags": {"Key": "x", "Values": ["y"]}}}, "UnsupportedOperation"),
        ({"filter": {}}, None),
        ({"filter": {"Dimensions": {"Values": ["x"]}}}, "UnsupportedOperation"),
    ],
)
def test_what_is_not_executed_is_refused(given: Any, code: str | None) -> None:
    if code is None:
        assert World().ask(**given)
        return
    with pytest.raises(ServiceError) as caught:
        World().ask(**given)
    assert caught.value.code == code


def test_the_users_prices_win_and_a_bad_table_is_said(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text("[comprehend]\nDetectSentiment = 2\n")
    world = World(own)
    world.meter(call())
    assert world.ask()[0]["Total"]["UnblendedCost"]["Amount"] == "6"
    for bad in ("[comprehend", "[comprehend]\nx = 'much'\n", "comprehend = 1\n"):
        own.write_text(bad)
        with pytest.raises(ServiceError, match=r"prices\.toml"):
            world.ask()


def test_what_cannot_be_written_down_is_not_answered() -> None:
    world = World()
    world.store.fails = True
    with pytest.raises(ServiceError) as caught:
        world.meter(call())
    assert caught.value.status == 503
