"""From what a gateway counted to CloudWatch's metrics of an endpoint: names, dimensions and units are AWS's. Pure.

Source: AWS's "Metrics for monitoring SageMaker AI", and scaling.md, section 7.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelyard.domain.metrics import BUCKET_WIDTH, Dimensions, Summary

NAMESPACE = "AWS/SageMaker"
CONTAINER_LATENCY = "ContainerLatency"
MODEL_SETUP = "ModelSetupTime"
MODEL_CACHE_HIT = "ModelCacheHit"
MODEL_WAIT, MODEL_LOADING = "ModelLoadingWaitTime", "ModelLoadingTime"
MODEL_UNLOADING = "ModelUnloadingTime"
MODEL_DOWNLOADING, LOADED_MODEL_COUNT = "ModelDownloadingTime", "LoadedModelCount"
SHADOW_NAMESPACE = "Modelyard/Shadow"
"""What AWS has no metrics for: how a shadow's answers compare with the production variant's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Of one fleet's part of a variant, in a few seconds. Latencies in microseconds: sum, and count by bucket."""

    requests: int
    client_errors: int
    server_errors: int
    model_errors: int
    model_sum: float
    overhead_sum: float
    model: Mapping[int, int]
    overhead: Mapping[int, int]
    instances: int
    in_flight: int
    compared: int = 0
    disagreed: int = 0
    drifts: int = 0
    drift_sum: float = 0.0
    drift_low: float = 0.0
    drift_high: float = 0.0
    dropped: int = 0


def dimensions_of(
    endpoint: str, variant: str, config: str, container: str = ""
) -> tuple[Dimensions, Dimensions]:
    """Of a variant, and once more of one fleet's part of it, which the endpoint config tells from others; by name."""
    of_variant: Dimensions = (("EndpointName", endpoint), ("VariantName", variant))
    if container:
        of_variant = (("ContainerName", container), *of_variant)
    return of_variant, tuple(sorted((("EndpointConfigName", config), *of_variant)))


def together(one: Counted, other: Counted) -> Counted:
    """What two gateways counted in the same seconds: what is in flight adds up, and is no second sample."""
    return Counted(
        requests=one.requests + other.requests,
        client_errors=one.client_errors + other.client_errors,
        server_errors=one.server_errors + other.server_errors,
        model_errors=one.model_errors + other.model_errors,
        model_sum=one.model_sum + other.model_sum,
        overhead_sum=one.overhead_sum + other.overhead_sum,
        model=_added(one.model, other.model),
        overhead=_added(one.overhead, other.overhead),
        instances=max(one.instances, other.instances),
        in_flight=one.in_flight + other.in_flight,
        compared=one.compared + other.compared,
        disagreed=one.disagreed + other.disagreed,
        drifts=one.drifts + other.drifts,
        drift_sum=one.drift_sum + other.drift_sum,
        drift_low=min((x.drift_low for x in (one, other) if x.drifts), default=0.0),
        drift_high=max(one.drift_high, other.drift_high),
        dropped=one.dropped + other.dropped,
    )


def _added(one: Mapping[int, int], other: Mapping[int, int]) -> Mapping[int, int]:
    return {place: one.get(place, 0) + other.get(place, 0) for place in one.keys() | other.keys()}


def summaries(counted: Counted) -> Iterator[tuple[str, str, Summary]]:
    """Name, unit and summary of each metric. A variant without traffic says zero of what adds up, and nothing else."""
    requests = counted.requests
    yield "Invocations", "None", _sum_of(requests, float(requests))
    yield "InvocationsPerInstance", "None", _sum_of(requests, requests / max(1, counted.instances))
    concurrent = Summary()
    concurrent.add(counted.in_flight / max(1, counted.instances))
    yield "ConcurrentRequestsPerModel", "Count", concurrent
    if not requests:
        return
    yield "Invocation4XXErrors", "None", _share_of(requests, counted.client_errors)
    yield "Invocation5XXErrors", "None", _share_of(requests, counted.server_errors)
    yield "InvocationModelErrors", "None", _share_of(requests, counted.model_errors)
    yield "ModelLatency", "Microseconds", _latency(counted.model, counted.model_sum)
    yield "OverheadLatency", "Microseconds", _latency(counted.overhead, counted.overhead_sum)


def own_summary(measure: str, counted: Counted) -> tuple[str, str, Summary]:
    """Name, unit and summary of what has no other metrics beside it, such as the latency of one container."""
    if measure == MODEL_CACHE_HIT:
        return measure, "None", _share_of(counted.requests, counted.model.get(1, 0))
    return measure, "Microseconds", _latency(counted.model, counted.model_sum)


def shadow_summaries(counted: Counted) -> Iterator[tuple[str, str, Summary]]:
    """Name, unit and summary of what is compared; nothing of a variant that is no shadow, or had no copies."""
    if counted.compared:
        yield "ComparedAnswers", "Count", _sum_of(counted.compared, float(counted.compared))
        yield "Disagreements", "Count", _share_of(counted.compared, counted.disagreed)
    if counted.compared or counted.dropped:
        copies = counted.requests + counted.dropped
        yield "DroppedCopies", "Count", _share_of(max(copies, counted.dropped), counted.dropped)
    if counted.drifts:
        drift = Summary()
        drift.add_set(
            count=counted.drifts,
            total=counted.drift_sum,
            low=counted.drift_low,
            high=counted.drift_high,
        )
        yield "NumericDrift", "None", drift


def _sum_of(requests: int, total: float) -> Summary:
    """Each request is a sample; without one, a single zero."""
    summary = Summary()
    summary.add(total / requests if requests else 0.0, max(1, requests))
    return summary


def _share_of(requests: int, ones: int) -> Summary:
    summary = Summary()
    if ones:
        summary.add(1.0, ones)
    if requests > ones:
        summary.add(0.0, requests - ones)
    return summary


def _latency(buckets: Mapping[int, int], total: float) -> Summary:
    summary = Summary(coarse=True)
    for place, count in buckets.items():
        summary.add(math.exp((place + 0.5) * BUCKET_WIDTH), count)
    summary.total = total
    return summary
