"""What the operations of CloudWatch share: its errors, dimensions, moments and pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.listing import Entry, Query, page
from modelyard.domain.metrics import Dimensions
from modelyard.store.metrics import Metric
from modelyard.store.resources import Json

Moment = datetime | float | None


def invalid(message: str) -> ServiceError:
    """``InvalidParameterValue``."""
    return ServiceError("InvalidParameterValue", message)


def _invalid_token(message: str) -> ServiceError:
    return ServiceError("InvalidNextToken", message)


def contradictory(message: str) -> ServiceError:
    """``InvalidParameterCombination``."""
    return ServiceError("InvalidParameterCombination", message)


def missing_parameter(message: str) -> ServiceError:
    """``MissingParameter``."""
    return ServiceError("MissingParameter", message)


def dimensions_of(given: Sequence[Json] | None) -> Dimensions:
    """By name. Raises ``InvalidParameterValue`` for a name given twice."""
    found = {one["Name"]: one["Value"] for one in given or ()}
    if len(found) != len(given or ()):
        raise invalid("The parameter Dimensions names a dimension twice.")
    return tuple(sorted(found.items()))


def shown_dimensions(dimensions: Dimensions) -> list[Json]:
    return [{"Name": name, "Value": value} for name, value in dimensions]


def metric_of(call: Call, namespace: str, name: str, dimensions: Sequence[Json] | None) -> Metric:
    """The metric in the caller's account and region."""
    return Metric(
        account=call.account,
        region=call.region,
        namespace=namespace,
        name=name,
        dimensions=dimensions_of(dimensions),
    )


def seconds(moment: datetime | float) -> float:
    """Since the epoch."""
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def check_period(period: int) -> None:
    """Raises ``InvalidParameterValue``."""
    if period not in (1, 5, 10, 20, 30) and (period <= 0 or period % 60):
        raise invalid("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.")


def list_page(
    found: Mapping[str, Json],
    *,
    scope: str,
    limit: int,
    next_token: str | None,
    descending: bool = False,
) -> tuple[list[Json], str | None]:
    """A page of what is named so, in order. Raises ``InvalidNextToken``."""
    query = Query(
        scope=scope,
        sort_by="Name",
        descending=descending,
        max_results=limit,
        next_token=next_token,
        refusal=_invalid_token,
    )
    result = page((Entry(name=name) for name in found), query)
    return [found[name] for name in result.names], result.next_token
