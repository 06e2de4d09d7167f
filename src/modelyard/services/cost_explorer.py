"""Cost Explorer: GetCostAndUsage over what the AI services metered, priced by a table that the user can edit."""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import Unsupported, ValidationError
from modelyard.domain.usage import Period, Prices, amount, cost
from modelyard.services.members import EXECUTED, REFUSED, Members, check, only, present
from modelyard.store.resources import Json
from modelyard.store.usage import Usage

NAMES = {
    "comprehend": "Amazon Comprehend",
    "translate": "Amazon Translate",
    "lex": "Amazon Lex",
}
"""As Cost Explorer calls the services."""
_COSTS = ("AmortizedCost", "BlendedCost", "NetAmortizedCost", "NetUnblendedCost", "UnblendedCost")
_USAGE = ("NormalizedUsageAmount", "UsageQuantity")
_GROUPS_MAX, _DAYS_MAX, _DEPTH_MAX = 2, 455, 20
_FILTER: Members = {
    "Or": EXECUTED,
    "And": EXECUTED,
    "Not": EXECUTED,
    "Dimensions": EXECUTED,
    "Tags": REFUSED,
    "CostCategories": REFUSED,
    "ProductAttributes": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "GetCostAndUsage": {
        "TimePeriod": EXECUTED,
        "Granularity": only("DAILY", "MONTHLY"),
        "Metrics": EXECUTED,
        "GroupBy": {"Type": only("DIMENSION"), "Key": EXECUTED},
        "Filter": _FILTER,
        "BillingViewArn": REFUSED,
        "NextPageToken": REFUSED,
    }
}
_DIMENSIONS: Mapping[str, Callable[[Usage], str]] = {
    "SERVICE": lambda used: NAMES.get(used.service, used.service),
    "USAGE_TYPE": lambda used: used.usage_type,
    "OPERATION": lambda used: used.operation,
    "REGION": lambda used: used.region,
    "LINKED_ACCOUNT": lambda used: used.account,
}
Matches = Callable[[Usage], bool]


class UsageReader(Protocol):
    """``store.usage.UsageStore``, as far as it matters here."""

    def read(self, account: str, *, start: str, end: str) -> list[Usage]: ...


class CostExplorer:
    """GetCostAndUsage."""

    def __init__(self, *, usage: UsageReader, prices: Callable[[], Prices], clock: Clock) -> None:
        self._usage = usage
        self._prices = prices
        self._clock = clock

    async def get_cost_and_usage(
        self,
        call: Call,
        *,
        time_period: Json,
        granularity: str,
        metrics: Sequence[str],
        filter: Json | None = None,
        group_by: Sequence[Json] | None = None,
        billing_view_arn: str | None = None,
        next_page_token: str | None = None,
    ) -> Json:
        given = present(
            {
                "TimePeriod": time_period,
                "Granularity": granularity,
                "Metrics": list(metrics),
                "Filter": filter,
                "GroupBy": list(group_by or []),
                "BillingViewArn": billing_view_arn,
                "NextPageToken": next_page_token,
            }
        )
        check("GetCostAndUsage", MEMBERS["GetCostAndUsage"], given)
        period = _period(time_period)
        names = _metrics(metrics)
        keys = _keys(group_by or [])
        matches = _filter(filter) if filter else _all
        prices = self._prices()
        used = [
            one
            for one in self._usage.read(call.account, start=period.start, end=period.end)
            if matches(one)
        ]
        today = datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC).date().isoformat()
        results = []
        for part in _parts(period, granularity):
            own = [one for one in used if part.holds(one.day)]
            total = {} if keys else _sums(own, names, prices)
            groups = [
                {"Keys": list(values), "Metrics": _sums(some, names, prices)}
                for values, some in sorted(_grouped(own, keys).items())
            ]
            results.append(
                {
                    "TimePeriod": {"Start": part.start, "End": part.end},
                    "Total": total,
                    "Groups": groups,
                    "Estimated": part.end > today,
                }
            )
        answer: Json = {"ResultsByTime": results, "DimensionValueAttributes": []}
        if group_by:
            answer["GroupDefinitions"] = list(group_by)
        return answer


def _period(given: Json) -> Period:
    days = []
    for name in ("Start", "End"):
        try:
            days.append(datetime.date.fromisoformat(given[name]))
        except ValueError:
            raise ValidationError(
                f"{name} time {given[name]} is invalid. Valid format is: yyyy-MM-dd."
            ) from None
    start, end = days
    if start >= end:
        raise ValidationError(f"Start time ({start}) should be before end time ({end}).")
    if (end - start).days > _DAYS_MAX:
        raise ValidationError(f"A time period has at most {_DAYS_MAX} days.")
    return Period(start=start.isoformat(), end=end.isoformat())


def _metrics(given: Sequence[str]) -> list[str]:
    known = {name.lower(): name for name in (*_COSTS, *_USAGE)}
    unknown = [name for name in given if name.lower() not in known]
    if unknown or not given:
        raise ValidationError(
            f"Metrics have to be among {', '.join(sorted(known.values()))}: {', '.join(unknown) or 'none was given'}."
        )
    return [known[name.lower()] for name in given]


def _keys(given: Sequence[Json]) -> list[str]:
    if len(given) > _GROUPS_MAX:
        raise ValidationError(f"Results are grouped by at most {_GROUPS_MAX} keys.")
    keys = [one["Key"] for one in given]
    for key in keys:
        if key not in _DIMENSIONS:
            raise Unsupported(
                f"Modelyard does not group by {key}; by one of {', '.join(_DIMENSIONS)}."
            )
    return keys


def _all(used: Usage) -> bool:
    return True


def _filter(expression: Json, depth: int = 0) -> Matches:
    """What an expression asks for. Raises ``ValidationError`` and ``Unsupported``."""
    if depth > _DEPTH_MAX:
        raise ValidationError(f"A filter is nested at most {_DEPTH_MAX} deep.")
    check("GetCostAndUsage", _FILTER, expression, within="Filter.")
    if len(present(expression)) != 1:
        raise ValidationError("An expression has exactly one of Or, And, Not and Dimensions.")
    ((kind, value),) = present(expression).items()
    if kind == "Not":
        inner = _filter(value, depth + 1)
        return lambda used: not inner(used)
    if kind in ("And", "Or"):
        parts = [_filter(one, depth + 1) for one in value]
        if kind == "And":
            return lambda used: all(part(used) for part in parts)
        return lambda used: any(part(used) for part in parts)
    return _dimension(value)


def _dimension(value: Json) -> Matches:
    key, wanted = value.get("Key") or "", set(value.get("Values") or [])
    if key not in _DIMENSIONS:
        raise Unsupported(
            f"Modelyard does not filter by {key}; by one of {', '.join(_DIMENSIONS)}."
        )
    if set(value.get("MatchOptions") or ["EQUALS"]) != {"EQUALS"}:
        raise Unsupported("Modelyard does not execute MatchOptions other than EQUALS.")
    return lambda used: _DIMENSIONS[key](used) in wanted


def _parts(period: Period, granularity: str) -> Iterator[Period]:
    """Days, or calendar months cut at the period's ends."""
    at = datetime.date.fromisoformat(period.start)
    end = datetime.date.fromisoformat(period.end)
    while at < end:
        if granularity == "DAILY":
            after = at + datetime.timedelta(days=1)
        else:
            after = (at.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
        after = min(after, end)
        yield Period(start=at.isoformat(), end=after.isoformat())
        at = after


def _grouped(used: Sequence[Usage], keys: Sequence[str]) -> dict[tuple[str, ...], list[Usage]]:
    groups: dict[tuple[str, ...], list[Usage]] = {}
    if keys:
        for one in used:
            groups.setdefault(tuple(_DIMENSIONS[key](one) for key in keys), []).append(one)
    return groups


def _sums(used: Sequence[Usage], names: Sequence[str], prices: Prices) -> Json:
    quantity = sum(one.quantity for one in used)
    dollars = sum(cost(prices, one.service, one.usage_type, one.quantity) for one in used)
    units = {one.unit for one in used}
    unit = units.pop() if len(units) == 1 else "N/A"
    return {
        name: {"Amount": amount(dollars), "Unit": "USD"}
        if name in _COSTS
        else {"Amount": amount(quantity), "Unit": unit}
        for name in names
    }
