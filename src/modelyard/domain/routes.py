"""The routing table: what a gateway needs to know of an endpoint, and nothing else.

Control publishes it as JSON (``routes``), a gateway decodes it into these values. Names are matched exactly.
"""

import msgspec

from modelyard.domain.capture import CaptureRule


class WorkerRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of a replica: the container's name, the URI of its socket (``unix:/path``), and whether it takes arrays."""

    id: str
    container: str
    address: str
    takes_arrays: bool = False


class ReplicaRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A ready replica: its workers in the order in which a request passes them."""

    id: str
    workers: tuple[WorkerRoute, ...]


class VariantRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A variant, or during a rollout one fleet's part of it: then two bear the same name.

    ``replicas`` may be empty while all of them are being restarted: then requests wait. ``fleet`` tells fleets apart (a shadow's
    is that of its production variant, negative: one never stands in for the other),
    ``config`` is the endpoint config that this one came from, ``share`` its part of the variant's traffic; ``weight`` is
    that part of the variant's weight. Of share 0 is one that only those requests get that ask for it (``RolloutRoute``).
    """

    name: str
    weight: float
    replicas: tuple[ReplicaRoute, ...]
    config: str = ""
    fleet: int = 0
    share: float = 1.0
    containers: tuple[str, ...] = ()
    direct: bool = False
    """Whether a request names the container that answers it (``TargetContainerHostname``)."""
    multi_model: bool = False
    """Whether a request names the model that answers it (``TargetModel``)."""
    retry: bool = True
    """Whether a request may be executed again after its worker died (``MODELYARD_RETRY=false`` disables it)."""
    shadow: bool = False
    """Whether it gets copies: then ``share`` of the requests to the production variant of the same fleet."""
    tolerance: float = 0.0
    """How far, relatively, a shadow's numbers may be from production's."""
    hibernates: bool = False
    """Whether it may have no replicas because it sleeps: who waits for one wakes it."""
    concurrency: int = 0
    """Requests at a time, of a serverless variant; past it they are throttled. 0: as many as a replica's queue takes."""


class RolloutRoute(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout that requests are entered for: its id, and which fleet is the new one.

    A request whose ``header`` (its name in lower case) has this ``value`` goes to the new one, wherever that has a replica.
    """

    id: str
    green: int
    header: str = ""
    value: str = ""


class EndpointRoute(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that is invocable. ``log_group`` goes into a ModelError's text."""

    name: str
    arn: str
    account: str
    region: str
    variants: tuple[VariantRoute, ...]
    log_group: str = ""
    capture: CaptureRule | None = None
    shadows: tuple[VariantRoute, ...] = ()
    asynchronous: bool = False
    """Whether it is invoked by ``InvokeEndpointAsync``, and no other way."""
    rollout: RolloutRoute | None = None


class RoutingTable(msgspec.Struct, frozen=True, kw_only=True):
    """Every invocable endpoint of the platform."""

    endpoints: tuple[EndpointRoute, ...] = ()
