"""A fleet: the workers that one version of an endpoint, or one transform job, needs, and what became of each.

A fleet has variants, a variant has replicas, a replica is an ordered list of workers, one for each container of the
model. The place of one worker in its fleet is a *slot*; whatever runs in it has an id made from the slot and the number
of the attempt, so that a controller that was killed in the middle finds again what it started. These values are kept
as JSON in a resource's status; everything here is pure.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from modelyard.domain import zones as zones_of
from modelyard.domain.images import Program

WorkerState = Literal["waiting", "starting", "ready", "running", "succeeded", "failed", "dead"]
DELAY_SECONDS_MAX = 60.0
REASON_CHARACTERS = 1024
TOLERANCE = "MODELYARD_SHADOW_TOLERANCE"
TOLERANCE_DEFAULT = 0.001
_STABLE_SECONDS = 60.0
_NO_STATES: tuple[WorkerState, ...] = ("succeeded", "dead")
_LIVING: tuple[WorkerState, ...] = ("starting", "ready")


class ModelData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's artifact as it was when the fleet was planned: a later upload to its key changes nothing."""

    uri: str = ""
    path: str = ""
    key: str = ""
    name: str = ""


class Container(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One container of a model; ``runtime`` is the built-in runtime that its image stands for."""

    name: str
    image: str
    runtime: str
    environment: dict[str, str] = {}
    data: ModelData = ModelData()
    code: ModelData = ModelData()
    """The archive of ``SAGEMAKER_SUBMIT_DIRECTORY``: a script beside the model."""
    program: Program | None = None
    """Of an image that is a local program: as it was when the fleet was planned."""
    engine: str = ""
    """Of an image that a container engine runs: the engine's command."""
    network_isolation: bool = False
    multi_model: bool = False
    """``data`` is a shelf (``domain.shelf``) of models, whose names continue its URI."""
    keeps_models: bool = True
    """Whether models stay loaded after a request (``ModelCacheSetting``)."""


class Serverless(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``ServerlessConfig``: memory in MiB, requests at a time, and how many of these are kept warm."""

    memory: int
    concurrency: int
    provisioned: int = 0


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``count`` replicas of one model; ``startup_seconds`` 0 means the platform's limit.

    ``direct``: each request names the one container that answers it; else it passes all of them in order.
    """

    name: str
    instance_type: str
    count: int
    weight: float
    containers: tuple[Container, ...]
    startup_seconds: float = 0.0
    direct: bool = False
    shadow: bool = False
    """Whether it gets copies of the production variant's requests, and answers nobody."""
    serverless: Serverless | None = None
    """It has no instances, but memory and a limit of requests at a time."""

    @property
    def tolerance(self) -> float:
        """How far, relatively, a shadow's numbers may be from production's and still agree with them."""
        return next(
            (
                found
                for container in self.containers
                if (found := _positive(container.environment.get(TOLERANCE, ""))) is not None
            ),
            TOLERANCE_DEFAULT,
        )

    @property
    def multi_model(self) -> bool:
        """Whether a request names the model that answers it (``TargetModel``)."""
        return any(container.multi_model for container in self.containers)

    @property
    def retry(self) -> bool:
        """Whether a request may be executed again after a worker's death."""
        return not any(
            container.environment.get("MODELYARD_RETRY", "").lower() in ("false", "0", "no")
            for container in self.containers
        )


class Fleet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``owner`` tells apart what merely bears the same name: the ARN and when it was created."""

    owner: str
    generation: int
    created_at: float
    variants: tuple[Variant, ...]
    config_name: str = ""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas of a variant, and its weight among the others."""

    count: int
    weight: float


class Resize(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of counts and weights on its way; ``back`` is why it goes back to what was ``before``."""

    before: dict[str, Capacity]
    since: float
    back: str = ""


class Slot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a slot remembers: which attempt it is at, deaths in a row, when this attempt starts or started."""

    attempt: int = 0
    deaths: int = 0
    start_at: float = 0.0
    zone: str = ""
    """Where this attempt was started; empty before that, and where there is one zone only."""
    move: str = ""
    """The zone where the next attempt starts already, to take this one's place when it is ready."""


Slots = dict[str, Slot]
FIRST_ATTEMPT = Slot()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A process as the runtime reports it."""

    state: WorkerState
    address: str = ""
    reason: str = ""
    takes_arrays: bool = False
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The worker that belongs into a slot now."""

    id: str
    slot: str
    replica: int
    variant: Variant
    container: Container
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A worker that did not live: ``deterministic`` if starting it again would end the same way."""

    placement: Placement
    reason: str
    deterministic: bool
    deaths: int


@dataclass(slots=True, kw_only=True)
class Look:
    """What a fleet needs now; ``slots`` are to be remembered before ``start`` is acted upon."""

    slots: Slots
    start: list[Placement] = field(default_factory=list)
    ready: list[Placement] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    size: int = 0
    wake_at: float = float("inf")

    @property
    def is_ready(self) -> bool:
        """Whether every worker of the fleet is ready."""
        return len(self.ready) == self.size


def with_shadows(fleet: Fleet, names: Collection[str]) -> Fleet:
    """The fleet, with these of its variants as shadows."""
    if not names:
        return fleet
    variants = [msgspec.structs.replace(one, shadow=one.name in names) for one in fleet.variants]
    return msgspec.structs.replace(fleet, variants=tuple(variants))


def short_id(*parts: object) -> str:
    """A name for a process or folder that depends on nothing but ``parts``; short, for socket paths."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


def placements(fleet: Fleet, slots: Mapping[str, Slot]) -> Iterator[Placement]:
    """Each slot's worker, by variant, replica and container."""
    for variant in fleet.variants:
        for replica in range(variant.count):
            for position, container in enumerate(variant.containers):
                slot = f"{fleet.generation}/{variant.name}/{replica}/{position}"
                known = slots.get(slot, FIRST_ATTEMPT)
                yield Placement(
                    id=short_id(fleet.owner, slot, known.attempt),
                    slot=slot,
                    replica=replica,
                    variant=variant,
                    container=container,
                    zone=known.zone,
                )


def heirs(fleet: Fleet, slots: Mapping[str, Slot]) -> Iterator[Placement]:
    """Of each slot that moves, the worker that is to take its place."""
    for placement in placements(fleet, slots):
        slot = slots.get(placement.slot, FIRST_ATTEMPT)
        if slot.move:
            yield _heir(fleet, placement, slot)


def homes_of(
    fleet: Fleet, slots: Mapping[str, Slot], observed: Mapping[str, Observed]
) -> zones_of.Homes:
    """The zone of each replica of which a worker runs."""
    homes: zones_of.Homes = {}
    for placement in placements(fleet, slots):
        worker = observed.get(placement.id)
        if worker is not None and worker.state in _LIVING:
            homes.setdefault((placement.variant.name, placement.replica), worker.zone)
    return homes


def look_at(  # noqa: PLR0913 - a fleet, what is known of it, and the bounds
    fleet: Fleet,
    slots: Mapping[str, Slot],
    observed: Mapping[str, Observed],
    *,
    now: float,
    startup_seconds: float,
    forgiving: bool,
    zones: Sequence[str] = (),
) -> Look:
    """Compare a fleet with what runs. A ``forgiving`` look forgets old deaths of a worker that lived for long.

    ``zones`` are those that can start workers; empty: there is nothing to choose from.
    """
    look = Look(slots=dict(slots))
    homes = homes_of(fleet, slots, observed) if zones else {}
    for asked in placements(fleet, slots):
        look.size += 1
        placement, slot = _inherit(look, fleet, asked, observed, now=now, zones=zones)
        worker = observed.get(placement.id)
        if worker is None:
            if zones:
                load = Counter(one.zone for one in observed.values())
                place = (placement.variant.name, placement.replica)
                zone = zones_of.choose_zone(place, zones, homes, load)
                slot = msgspec.structs.replace(slot, zone=zone)
                placement = replace(placement, zone=zone)
            _start(look, placement, slot, now=now)
        elif worker.state == "ready":
            look.ready.append(placement)
        else:
            limit = placement.variant.startup_seconds or startup_seconds
            loss = _loss(placement, slot, worker, now=now, startup_seconds=limit)
            if loss is None:
                look.wake_at = min(look.wake_at, slot.start_at + limit)
            else:
                _replace(look, loss, slot, now=now, forgiving=forgiving)
    return look


def delay_seconds(deaths: int) -> float:
    """Wait before the next attempt: none after the first death, then 1, 2, 4… seconds up to a minute."""
    return 0.0 if deaths <= 1 else min(DELAY_SECONDS_MAX, 2.0 ** (min(deaths, 10) - 2))


def limited_reason(text: str) -> str:
    """A ``FailureReason`` of at most 1,024 characters that keeps its start and its end, where the error stands."""
    if len(text) <= REASON_CHARACTERS:
        return text
    head = REASON_CHARACTERS // 3
    return f"{text[:head]} … {text[-(REASON_CHARACTERS - head - 3) :]}"


def describe_loss(loss: Loss) -> str:
    """The sentence that a user reads as the endpoint's or job's ``FailureReason``."""
    place = loss.placement
    attempts = f" after {loss.deaths} attempts" if loss.deaths > 1 else ""
    where = place_name(place.variant.name, place.container.name)
    return limited_reason(f"{where}: {loss.reason}{attempts}")


def place_name(variant: str, container: str) -> str:
    """How reasons name a place; a job's only variant has no name."""
    return f"Variant {variant}, container {container}" if variant else f"Container {container}"


def to_json(value: Any) -> Any:
    """These values exactly as they come back from a status, so that "nothing changed" can be seen."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _heir(fleet: Fleet, placement: Placement, slot: Slot) -> Placement:
    heir = short_id(fleet.owner, placement.slot, slot.attempt + 1)
    return replace(placement, id=heir, zone=slot.move)


def _inherit(
    look: Look,
    fleet: Fleet,
    placement: Placement,
    observed: Mapping[str, Observed],
    *,
    now: float,
    zones: Sequence[str],
) -> tuple[Placement, Slot]:
    """Who holds the slot. One that moves gives way to its heir when that is ready, or when it has died itself."""
    slot = look.slots.get(placement.slot, FIRST_ATTEMPT)
    if not slot.move:
        return placement, slot
    heir = _heir(fleet, placement, slot)
    holder, successor = observed.get(placement.id), observed.get(heir.id)
    if (successor and successor.state == "ready") or holder is None or holder.state != "ready":
        look.retired.append(placement.id)
        taken = Slot(
            attempt=slot.attempt + 1, deaths=slot.deaths, start_at=slot.start_at, zone=slot.move
        )
        look.slots[placement.slot] = taken
        return heir, taken
    if successor is None and slot.move in zones:
        look.start.append(heir)
    elif successor is None or successor.state not in _LIVING:
        # It stays where it is; ``start_at`` says since when it is settled.
        look.retired.append(heir.id)
        slot = msgspec.structs.replace(slot, move="", start_at=now)
        look.slots[placement.slot] = slot
    return placement, slot


def _positive(text: str) -> float | None:
    """The number, if it is one that can be a tolerance."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None


def _start(look: Look, placement: Placement, slot: Slot, *, now: float) -> None:
    # A clock that was set back must not postpone a start for longer than the longest delay.
    if now >= slot.start_at or slot.start_at - now > DELAY_SECONDS_MAX:
        look.start.append(placement)
        look.slots[placement.slot] = msgspec.structs.replace(slot, start_at=now)
    else:
        look.wake_at = min(look.wake_at, slot.start_at)


def _loss(
    placement: Placement, slot: Slot, worker: Observed, *, now: float, startup_seconds: float
) -> Loss | None:
    deaths = slot.deaths + 1
    if worker.state == "failed":
        reason = worker.reason or "the model could not be loaded"
        return Loss(placement=placement, reason=reason, deterministic=True, deaths=deaths)
    if worker.state in _NO_STATES:
        reason = worker.reason or "the worker ended before it was ready"
        # The runtime has the same limit: what it killed for being late would be late again.
        late = now - slot.start_at >= startup_seconds
        return Loss(placement=placement, reason=reason, deterministic=late, deaths=deaths)
    if now - slot.start_at >= startup_seconds:
        reason = f"the worker did not pass the ping health check within {startup_seconds:g} seconds"
        return Loss(placement=placement, reason=reason, deterministic=True, deaths=deaths)
    return None


def _replace(look: Look, loss: Loss, slot: Slot, *, now: float, forgiving: bool) -> None:
    lived = now - slot.start_at
    stable = max(_STABLE_SECONDS, 2 * delay_seconds(slot.deaths))
    deaths = 1 if forgiving and lived > stable else slot.deaths + 1
    start_at = now + delay_seconds(deaths)
    look.losses.append(loss)
    look.retired.append(loss.placement.id)
    look.slots[loss.placement.slot] = Slot(
        attempt=slot.attempt + 1, deaths=deaths, start_at=start_at
    )
    look.wake_at = min(look.wake_at, start_at)
