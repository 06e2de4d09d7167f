"""The documents that an endpoint's tags name for its updates: checks while the new version has traffic, and a test before it.

They are read when UpdateEndpoint is called, and what they say is kept with the update (``trials`` in its spec): a later change of
the object changes nothing of a rollout that goes on. What cannot be executed is refused then.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.deployment import policy_of
from modelyard.domain.metric_math import Series, evaluate_all
from modelyard.domain.pre_traffic import REQUESTS_MAX, Expected, Trial
from modelyard.domain.rollout import waits
from modelyard.domain.rollout_checks import Check, parse_condition
from modelyard.domain.rollout_tags import CHECKS, TEST, Tags, document
from modelyard.services.cloudwatch.metric_data import check_query
from modelyard.store.resources import Json

DOCUMENT_BYTES_MAX = 256 * 1024
CHECKS_MAX = 20
QUERIES_MAX = 10
RESULT = "="
"""Among a check's queries, its own expression: no Id is like this."""
_SECONDS_MAX = 28_800
_LIMIT_MAX = 1_000
Read = Callable[[str], bytes]
"""The object at a URI. Blocks; raises ``OSError`` or ``ValueError``."""


class _Dimension(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    name: str
    value: str


class _Metric(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    namespace: str
    metric_name: str
    dimensions: list[_Dimension] = []


class _Stat(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, omit_defaults=True):
    metric: _Metric
    period: int
    stat: str
    unit: str = ""


class _Query(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, omit_defaults=True):
    id: str
    metric_stat: _Stat | None = None
    expression: str | None = None
    label: str = ""


class _Check(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    name: str
    expression: str
    metrics: list[_Query]
    condition: str
    interval_seconds: int
    failure_limit: int = 0
    inconclusive_limit: int = 0
    initial_delay_seconds: int = 0


class _Expect(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    status: int = 200
    body: Any = msgspec.UNSET
    within: float = 0.0
    max_latency_ms: float | None = None


class _Request(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    body: Any = msgspec.UNSET
    body_base64: str | None = msgspec.field(default=None, name="BodyBase64")
    content_type: str = ""
    accept: str = ""
    variant_name: str = ""
    expect: _Expect = msgspec.field(default_factory=_Expect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The bytes that the tags name; None where they name none."""

    checks: bytes | None = None
    test: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The update that they are for: names of the endpoint and of both configs, the new config, its models and deployment."""

    endpoint: str
    blue: str
    green: str
    config: Json
    models: Mapping[str, Json]
    deployment: Json | None

    @property
    def variants(self) -> Sequence[str]:
        return [one["VariantName"] for one in self.config["ProductionVariants"]]


async def read_documents(read: Read, tags: Tags) -> Documents:
    """Raises ``ValidationError`` where one cannot be read."""
    found: dict[str, bytes] = {}
    for name, key in (("checks", CHECKS), ("test", TEST)):
        uri = document(tags, key)
        if not uri:
            continue
        try:
            found[name] = await asyncio.to_thread(read, uri)
        except (OSError, ValueError) as error:
            raise ValidationError(f"Cannot read {uri} of the tag {key}: {error}.") from None
    return Documents(**found)


def trials_of(documents: Documents, updated: Updated) -> Json:
    """What they say, as it is kept; empty where there are none. Raises ``ValidationError`` and ``Unsupported``."""
    found: dict[str, Any] = {}
    if documents.checks is None and documents.test is None:
        return found
    if any(one.get("ServerlessConfig") for one in updated.config["ProductionVariants"]):
        raise ValidationError(
            f"Tags {CHECKS} and {TEST} are not for serverless endpoints: deployment guardrails do not serve them."
        )
    if documents.checks is not None:
        found["checks"] = list(_checks(documents.checks, updated))
    if documents.test is not None:
        found["test"] = [msgspec.to_builtins(one) for one in _trials(documents.test, updated)]
    return found


def _checks(text: bytes, updated: Updated) -> Iterator[Json]:
    try:
        asked = msgspec.json.decode(text, type=list[_Check])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _wrong(CHECKS, f"{error}") from None
    named = [one for check in asked for one in _by_variant(check, updated)]
    if not named or len(named) > CHECKS_MAX:
        raise _wrong(
            CHECKS,
            f"it has {len(named)} checks, one for each variant: 1 to {CHECKS_MAX} are allowed",
        )
    if len({check.name for check, _ in named}) < len(named):
        raise _wrong(CHECKS, "the names of its checks have to be different")
    longest = waits(policy_of(updated.deployment), _counts(updated.config))
    for check, variant in named:
        try:
            yield _kept(check, updated, variant, longest)
        except ServiceError as error:
            if error.code == "UnsupportedOperation":
                raise
            raise _wrong(CHECKS, f"check {check.name}: {error.message.rstrip('.')}") from None


def _by_variant(check: _Check, updated: Updated) -> Iterator[tuple[_Check, str]]:
    """One that speaks of ``{VariantName}`` is one for each variant."""
    if "{VariantName}" not in str(check.metrics) or len(updated.variants) == 1:
        yield check, updated.variants[0]
        return
    for variant in updated.variants:
        yield msgspec.structs.replace(check, name=f"{check.name}/{variant}"), variant


def _kept(check: _Check, updated: Updated, variant: str, longest: float) -> Json:
    _check_numbers(check, longest)
    names = {
        "{EndpointName}": updated.endpoint,
        "{VariantName}": variant,
        "{BlueEndpointConfigName}": updated.blue,
        "{GreenEndpointConfigName}": updated.green,
    }
    if "{BlueEndpointConfigName}" in str(check.metrics) and updated.blue == updated.green:
        raise ValidationError(
            f"both fleets have the config {updated.green}, so their metrics cannot be told apart"
        )
    queries = [_resolved(query, names) for query in check.metrics]
    ids = [query["Id"] for query in queries]
    if not queries or len(queries) > QUERIES_MAX or len(set(ids)) < len(ids):
        raise ValidationError(f"Metrics are 1 to {QUERIES_MAX} queries with different Ids")
    for query in queries:
        check_query(query)
    periods = {query["MetricStat"]["Period"] for query in queries if "MetricStat" in query}
    if len(periods) != 1:
        raise ValidationError("its metrics need one Period, the same for all")
    (period,) = periods
    if period > check.interval_seconds:
        raise ValidationError(f"its Period of {period} seconds is longer than its IntervalSeconds")
    one = Series(points={0: 1.0})
    expressions = {query["Id"]: query.get("Expression", "") for query in queries}
    stats = {query["Id"]: one for query in queries if "MetricStat" in query}
    evaluate_all({**expressions, RESULT: check.expression}, stats)
    asked = Check(
        name=check.name,
        expression=check.expression,
        condition=check.condition.strip(),
        interval=float(check.interval_seconds),
        delay=float(check.initial_delay_seconds),
        failures_max=check.failure_limit,
        inconclusive_max=check.inconclusive_limit,
    )
    return {"check": msgspec.to_builtins(asked), "metrics": queries, "period": period}


def _check_numbers(check: _Check, longest: float) -> None:
    if not check.name.strip() or len(check.name) > 200:
        raise ValidationError("Name has 1 to 200 characters")
    if parse_condition(check.condition) is None:
        raise ValidationError(
            f"Condition is {check.condition!r}: it has to be one of > >= < <= and a number, such as '>= 0.99'"
        )
    if not 10 <= check.interval_seconds <= _SECONDS_MAX:
        raise ValidationError(f"IntervalSeconds is 10 to {_SECONDS_MAX}")
    if not 0 <= check.initial_delay_seconds <= _SECONDS_MAX:
        raise ValidationError(f"InitialDelaySeconds is 0 to {_SECONDS_MAX}")
    for member, limit in (
        ("FailureLimit", check.failure_limit),
        ("InconclusiveLimit", check.inconclusive_limit),
    ):
        if not -1 <= limit <= _LIMIT_MAX:
            raise ValidationError(f"{member} is 0 to {_LIMIT_MAX}, or -1 for no limit")
    first = check.initial_delay_seconds + check.interval_seconds
    if first > longest:
        raise ValidationError(
            f"it would never be measured: its first time is {first} seconds after the new version's first traffic, and the "
            f"waits of DeploymentConfig are {longest:g} seconds together"
        )


def _resolved(query: _Query, names: Mapping[str, str]) -> dict[str, Any]:
    """The query as CloudWatch has it, with the names in place of their placeholders. Raises ``ValidationError``."""
    found: dict[str, Any] = {
        name: value for name, value in msgspec.to_builtins(query).items() if value is not None
    }
    stat = found.get("MetricStat")
    for dimension in (stat or {}).get("Metric", {}).get("Dimensions", ()):
        for placeholder, name in names.items():
            dimension["Value"] = dimension["Value"].replace(placeholder, name)
        if "{" in dimension["Value"]:
            known = ", ".join(names)
            raise ValidationError(f"{dimension['Value']} is no placeholder: there are {known}")
    return found


def _trials(text: bytes, updated: Updated) -> Iterator[Trial]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or len(lines) > REQUESTS_MAX:
        raise _wrong(
            TEST, f"it has {len(lines)} requests, one a line: 1 to {REQUESTS_MAX} are allowed"
        )
    for name, model in updated.models.items():
        containers = model.get("Containers") or [model.get("PrimaryContainer") or {}]
        is_direct = (model.get("InferenceExecutionConfig") or {}).get("Mode") == "Direct"
        if is_direct or any(one.get("Mode") == "MultiModel" for one in containers):
            raise _wrong(
                TEST, f"model {name} is invoked by naming a container or model, which a test cannot"
            )
    for number, line in enumerate(lines, start=1):
        try:
            asked = msgspec.json.decode(line, type=_Request)
            yield _trial(asked, updated)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValidationError) as error:
            said = error.message if isinstance(error, ValidationError) else str(error)
            raise _wrong(TEST, f"request {number}: {said}") from None


def _trial(asked: _Request, updated: Updated) -> Trial:
    if (asked.body is msgspec.UNSET) == (asked.body_base64 is None):
        raise ValidationError("give one of Body and BodyBase64")
    if asked.variant_name and asked.variant_name not in updated.variants:
        raise ValidationError(f"there is no variant {asked.variant_name}")
    expect = asked.expect
    if not 100 <= expect.status <= 599 or expect.within < 0:
        raise ValidationError("Expect.Status is 100 to 599, Expect.Within 0 or more")
    content_type = asked.content_type
    if asked.body_base64 is not None:
        try:
            body = base64.b64decode(asked.body_base64, validate=True)
        except binascii.Error as error:
            raise ValidationError(f"BodyBase64 is not base64: {error}") from None
    elif isinstance(asked.body, str):
        body = asked.body.encode()
    else:
        body, content_type = json.dumps(asked.body).encode(), content_type or "application/json"
    latency = {} if expect.max_latency_ms is None else {"latency_ms_max": expect.max_latency_ms}
    expected = Expected(status=expect.status, body=expect.body, within=expect.within, **latency)
    return Trial(
        body=body,
        content_type=content_type,
        accept=asked.accept,
        variant=asked.variant_name,
        expected=expected,
    )


def _counts(config: Json) -> dict[str, int]:
    return {
        one["VariantName"]: one.get("InitialInstanceCount", 1)
        for one in config["ProductionVariants"]
    }


def _wrong(tag: str, why: str) -> ValidationError:
    return ValidationError(f"The document of tag {tag} cannot be executed: {why}.")
