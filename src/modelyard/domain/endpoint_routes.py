"""From ready workers to routes: an endpoint's variants, and during a rollout each fleet's part of them. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from modelyard.domain import rollout as rollouts
from modelyard.domain.fleet import Fleet, Observed, Placement, Variant, short_id
from modelyard.domain.rollout import Extent
from modelyard.domain.routes import ReplicaRoute, VariantRoute, WorkerRoute


def routes(
    fleet: Fleet | None, ready: Sequence[Placement], observed: Mapping[str, Observed]
) -> tuple[VariantRoute, ...] | None:
    """The fleet's variants with those replicas all of whose workers are ready."""
    if fleet is None:
        return None
    chains: dict[tuple[str, int], list[Placement]] = {}
    for placement in ready:
        chains.setdefault((placement.variant.name, placement.replica), []).append(placement)
    production = sum(variant.weight for variant in fleet.variants if not variant.shadow)
    return tuple(
        VariantRoute(
            name=variant.name,
            weight=variant.weight,
            share=_copied(variant, production) if variant.shadow else 1.0,
            shadow=variant.shadow,
            tolerance=variant.tolerance if variant.shadow else 0.0,
            retry=variant.retry,
            config=fleet.config_name,
            fleet=-fleet.generation if variant.shadow else fleet.generation,
            containers=tuple(container.name for container in variant.containers),
            direct=variant.direct,
            multi_model=variant.multi_model,
            concurrency=variant.serverless.concurrency if variant.serverless else 0,
            replicas=tuple(
                _replica_route(chain, observed)
                for replica in range(variant.count)
                if len(chain := chains.get((variant.name, replica), [])) == len(variant.containers)
            ),
        )
        for variant in fleet.variants
    )


def _copied(shadow: Variant, production: float) -> float:
    """The share of the production variant's requests that a shadow gets: its weight as a part of that one's."""
    if production <= 0:
        return 1.0 if shadow.weight > 0 else 0.0
    return min(1.0, shadow.weight / production)


def _replica_route(chain: Sequence[Placement], observed: Mapping[str, Observed]) -> ReplicaRoute:
    # The id changes with any of its workers: to a gateway, a restarted replica is another one.
    return ReplicaRoute(
        id=short_id(*(placement.id for placement in chain)),
        workers=tuple(
            WorkerRoute(
                id=placement.id,
                container=placement.container.name,
                address=observed[placement.id].address,
                takes_arrays=observed[placement.id].takes_arrays,
            )
            for placement in chain
        ),
    )


def shared_routes(
    blue: tuple[Fleet, Sequence[Placement]],
    green: tuple[Fleet, Sequence[Placement]],
    extent: Extent,
    observed: Mapping[str, Observed],
    *,
    early: bool = False,
) -> tuple[VariantRoute, ...]:
    """Both fleets' parts of each variant: instances that are turned on, with their share of its weight.

    ``early``: of green also what has no share yet, where it has a replica, for the requests that ask for it.
    """
    found = []
    for (fleet, ready), on, place in ((blue, extent.blue_on, 0), (green, extent.green_on, 1)):
        part = routes(resized(fleet, on), ready, observed) or ()
        for route in part:
            if route.shadow:
                if any(on.values()):
                    found.append(route)
                continue
            share = rollouts.shares(extent, route.name)[place]
            if share > 0:
                found.append(
                    msgspec.structs.replace(route, share=share, weight=route.weight * share)
                )
    if all(route.shadow for route in found):
        # What serves is scaled to zero, and nothing of the new fleet takes requests yet.
        found += [route for route in routes(blue[0], (), observed) or () if not route.shadow]
    # A part whose replicas are all down would make its share of the requests wait: the other takes them.
    names = {(route.name, route.shadow) for route in found if route.replicas}
    kept = [route for route in found if route.replicas or (route.name, route.shadow) not in names]
    return tuple(kept + (_early(*green, kept, observed) if early else []))


def _early(
    fleet: Fleet,
    ready: Sequence[Placement],
    known: Sequence[VariantRoute],
    observed: Mapping[str, Observed],
) -> list[VariantRoute]:
    shared = {route.name for route in known if route.fleet == fleet.generation}
    return [
        msgspec.structs.replace(route, share=0.0, weight=0.0)
        for route in routes(fleet, ready, observed) or ()
        if route.replicas and not route.shadow and route.name not in shared
    ]


def resized(fleet: Fleet, counts: Mapping[str, int]) -> Fleet:
    """The fleet as far as it is needed now: of each variant the first instances; a shadow while there is anything else."""
    resized = [
        msgspec.structs.replace(variant, count=counts.get(variant.name, 0))
        if not variant.shadow or not any(counts.values())
        else variant
        for variant in fleet.variants
    ]
    return msgspec.structs.replace(fleet, variants=tuple(resized))


def whole_replicas(ready: Sequence[Placement]) -> dict[str, int]:
    """Whole replicas by variant: those all of whose containers are ready."""
    chains = Counter((placement.variant.name, placement.replica) for placement in ready)
    sizes = {placement.variant.name: len(placement.variant.containers) for placement in ready}
    return dict(Counter(name for (name, _), count in chains.items() if count == sizes[name]))
