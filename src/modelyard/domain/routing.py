"""Which variant and which replica a request goes to."""

from collections.abc import Sequence

from modelyard.base.errors import ServiceError
from modelyard.domain.routes import EndpointRoute, VariantRoute


def choose_variant(endpoint: EndpointRoute, *, target: str, draw: float) -> VariantRoute:
    """The variant that ``target`` names, or one by weight; ``draw`` is uniform in [0, 1).

    Raises ``ValidationError`` for an unknown target, and ``ServiceUnavailable`` where no variant takes traffic.
    """
    if target:
        for variant in endpoint.variants:
            if variant.name == target:
                return variant
        raise ServiceError(
            "ValidationError",
            f"Variant {target} not found for Endpoint {endpoint.name} of account {endpoint.account}.",
        )
    if len(endpoint.variants) == 1:
        return endpoint.variants[0]
    total = sum(variant.weight for variant in endpoint.variants)
    if total <= 0:
        raise ServiceError("ServiceUnavailable", "Every variant has the weight 0.", status=503)
    position = draw * total
    for variant in endpoint.variants:
        position -= variant.weight
        if position < 0:
            return variant
    # Rounding may leave a sliver behind the last weight; it belongs to the last variant that has one.
    return next(variant for variant in reversed(endpoint.variants) if variant.weight > 0)


def least_outstanding(in_flight: Sequence[int], *, turn: int) -> int:
    """Place of the replica with the fewest requests in flight; equal ones take turns."""
    count = len(in_flight)
    best = turn % count
    for step in range(1, count):
        place = (turn + step) % count
        if in_flight[place] < in_flight[best]:
            best = place
    return best
