"""From what a gateway counted to CloudWatch's metrics of an endpoint: names, dimensions and units are AWS's. Pure.

Source: AWS's "Metrics for monitoring SageMaker AI", and scaling.md, section 7.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelyard.domain.metrics import BUCKET_WIDTH, Summary

NAMESPACE = "AWS/SageMaker"


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
