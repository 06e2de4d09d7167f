"""What each call of an AI service is counted as: exactly once, before its answer leaves.

A client that repeats a request, because an answer was lost with a killed process, sends the same ``amz-sdk-invocation-id``; it is
what tells a repeat from another request. Clients that send none are told apart by request.
"""

import datetime
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.usage import Prices
from modelyard.store.usage import TooMuchUsage, Usage

_ID_CHARACTERS = 200


class UsageRecorder(Protocol):
    """``store.usage.UsageStore``, as far as it matters here."""

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None: ...


class Metering:
    """Writes down what was used."""

    def __init__(self, *, usage: UsageRecorder, clock: Clock) -> None:
        self._usage = usage
        self._clock = clock

    def meter(
        self, call: Call, *, usage_type: str, quantity: float, unit: str, repeat_id: str = ""
    ) -> None:
        """Count a call that has its answer. Kept on return. Raises ``ServiceError`` where it cannot be written.

        ``repeat_id`` is what makes this the same use when it is metered again, such as a job's id; without it the request.
        """
        service, _, operation = call.action.partition(":")
        same = repeat_id or call.invocation_id or call.request_id
        now = self._clock.now()
        used = Usage(
            account=call.account,
            region=call.region,
            day=datetime.datetime.fromtimestamp(now, datetime.UTC).date().isoformat(),
            service=service,
            operation=operation,
            usage_type=usage_type,
            unit=unit,
            quantity=quantity,
        )
        usage_id = f"{call.account}/{call.action}/{usage_type}/{quantity}/{same[:_ID_CHARACTERS]}"
        try:
            self._usage.record(usage_id, used, now=now)
        except (TooMuchUsage, OSError) as error:
            raise ServiceError(
                "ServiceUnavailableException",
                f"The usage cannot be written down: {error}",
                status=503,
            ) from error


def read_prices(own: Path) -> Prices:
    """The table that comes with the platform, with the user's own above it. Raises ``ServiceError`` for one that is none."""
    table: dict[str, dict[str, float]] = tomllib.loads(
        files("modelyard.services").joinpath("prices.toml").read_text()
    )
    try:
        mine = tomllib.loads(own.read_text())
    except FileNotFoundError:
        return table
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ServiceError("DataUnavailableException", f"{own} cannot be read: {error}") from error
    for service, prices in mine.items():
        numbers = isinstance(prices, dict) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and one >= 0
            for one in prices.values()
        )
        if not numbers:
            raise ServiceError(
                "DataUnavailableException",
                f"{own}: [{service}] has to hold prices: names and numbers.",
            )
        table.setdefault(service, {}).update(prices)
    return table
