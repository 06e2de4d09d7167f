"""Cost Explorer: what the AI services metered, and its dimensions, priced by a table that the user can edit."""

import asyncio
import base64
import binascii
import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError, Unsupported, ValidationError
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
_GROUPS_MAX, _DAYS_MAX, _DEPTH_MAX, _VALUES_MAX = 2, 455, 20, 1000
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
    },
    "GetDimensionValues": {
        "TimePeriod": EXECUTED,
        "Dimension": EXECUTED,
        "SearchString": EXECUTED,
        "Context": only("COST_AND_USAGE"),
        "Filter": _FILTER,
        "SortBy": EXECUTED,
        "MaxResults": EXECUTED,
        "NextPageToken": EXECUTED,
        "DimensionKey": REFUSED,
        "BillingViewArn": REFUSED,
    },
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
    """GetCostAndUsage and GetDimensionValues."""

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
        used = await self._used(call, period, filter, "GetCostAndUsage")
        prices = self._prices()
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

    async def get_dimension_values(
        self,
        call: Call,
        *,
        time_period: Json,
        dimension: str,
        search_string: str | None = None,
        context: str | None = None,
        filter: Json | None = None,
        sort_by: Sequence[Json] | None = None,
        max_results: int | None = None,
        next_page_token: str | None = None,
        dimension_key: str | None = None,
        billing_view_arn: str | None = None,
    ) -> Json:
        """What was used, as one dimension names it: in the order of the names, or of metrics. ``MaxResults`` is for these."""
        asked = present(
            {
                "TimePeriod": time_period,
                "Dimension": dimension,
                "SearchString": search_string,
                "Context": context,
                "Filter": filter,
                "SortBy": list(sort_by) if sort_by else None,
                "DimensionKey": dimension_key,
                "BillingViewArn": billing_view_arn,
            }
        )
        check("GetDimensionValues", MEMBERS["GetDimensionValues"], asked)
        period = _period(time_period)
        (key,) = _keys([{"Key": dimension}])
        begin = _place(next_page_token, asked)
        used = await self._used(call, period, filter, "GetDimensionValues")
        groups = {
            value: some
            for (value,), some in sorted(_grouped(used, [key]).items())
            if (search_string or "").lower() in value.lower()
        }
        values = _sorted(groups, sort_by or [], self._prices())
        end = begin + (min(max_results or _VALUES_MAX, _VALUES_MAX) if sort_by else _VALUES_MAX)
        shown = values[begin:end]
        return present(
            {
                "DimensionValues": [{"Value": value, "Attributes": {}} for value in shown],
                "ReturnSize": len(shown),
                "TotalSize": len(values),
                "NextPageToken": _token(end, asked) if end < len(values) else None,
            }
        )

    async def _used(
        self, call: Call, period: Period, expression: Json | None, operation: str
    ) -> list[Usage]:
        """What the caller's account used then, of what a filter lets through. In a thread: it is added up first, and written."""
        matches = _filter(operation, expression) if expression else _all
        used = await asyncio.to_thread(
            self._usage.read, call.account, start=period.start, end=period.end
        )
        return [one for one in used if matches(one)]


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


def _filter(operation: str, expression: Json, depth: int = 0) -> Matches:
    """What an expression asks for. Raises ``ValidationError`` and ``Unsupported``."""
    if depth > _DEPTH_MAX:
        raise ValidationError(f"A filter is nested at most {_DEPTH_MAX} deep.")
    check(operation, _FILTER, expression, within="Filter.")
    if len(present(expression)) != 1:
        raise ValidationError("An expression has exactly one of Or, And, Not and Dimensions.")
    ((kind, value),) = present(expression).items()
    if kind == "Not":
        inner = _filter(operation, value, depth + 1)
        return lambda used: not inner(used)
    if kind in ("And", "Or"):
        parts = [_filter(operation, one, depth + 1) for one in value]
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


def _sorted(
    groups: Mapping[str, Sequence[Usage]], sort_by: Sequence[Json], prices: Prices
) -> list[str]:
    """The names of groups: those of one amount in their own order. Raises ``ValidationError``."""
    names = list(groups)
    for one in reversed(sort_by):
        (metric,) = _metrics([one["Key"]])
        amounts = {
            name: float(_sums(some, [metric], prices)[metric]["Amount"])
            for name, some in groups.items()
        }
        names.sort(key=amounts.__getitem__, reverse=one.get("SortOrder") == "DESCENDING")
    return names


def _token(place: int, asked: Json) -> str:
    """Where the next page of the same request begins."""
    return base64.urlsafe_b64encode(json.dumps([place, _digest(asked)]).encode()).decode()


def _place(token: str | None, asked: Json) -> int:
    """Where a page begins. Raises ``InvalidNextTokenException`` and ``RequestChangedException``."""
    if token is None:
        return 0
    try:
        place, digest = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        place, digest = None, None
    if not isinstance(place, int) or place < 0:
        raise ServiceError("InvalidNextTokenException", "The pagination token is invalid.")
    if digest != _digest(asked):
        raise ServiceError(
            "RequestChangedException", "The token belongs to a request with other parameters."
        )
    return place


def _digest(asked: Json) -> str:
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=9).hexdigest()
