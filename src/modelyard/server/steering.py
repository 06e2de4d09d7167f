"""A person's word in a rollout: look at it, hold it, let it go on, end this bake now, send it back.

AWS has no such verbs: these are the platform's own calls, signed by the account's root, in the caller's account.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from modelyard.base.errors import ServiceError, ValidationError
from modelyard.control.endpoints import endpoint_memory
from modelyard.control.ledgers import BookReader, ledgers_of
from modelyard.domain import rollout as rollouts
from modelyard.domain.ledger import checks_seen, totals_of
from modelyard.domain.rollout import Rollout
from modelyard.services.changes import change
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

WORDS = ("pause", "resume", "promote", "abort")


async def steer(store: ResourceStore, account: str, target: str) -> Mapping[str, Any]:
    """``/_modelyard/rollouts?endpoint=NAME&region=REGION&word=WORD``; what the rollout is then told.

    Raises ``ValidationException`` for an unknown word, and where nothing is rolled out.
    """
    key, word = _asked(account, target)
    if word not in WORDS:
        raise ValidationError(
            f"{word or '(nothing)'} is no word for a rollout: {', '.join(WORDS)}."
        )

    def decide(resource: Resource | None) -> Update:
        found = _found(key, resource)
        rollout = _rollout(found)
        before = found.spec.get("steering") or {}
        spec = {**found.spec, "steering": {**before, **_told(word, rollout)}}
        return Update(key=key, version=found.version, spec=spec)

    await change(store, key, decide)
    return {"endpoint": key.name, "word": word}


def state(store: ResourceStore, account: str, target: str) -> Mapping[str, Any]:
    """``/_modelyard/rollouts?endpoint=NAME&region=REGION``: stage, shares, seconds, alarms."""
    key, _ = _asked(account, target)
    resource = _found(key, store.get(key))
    memory = endpoint_memory(resource)
    shown: dict[str, Any] = {
        "endpoint": key.name,
        "status": resource.status["EndpointStatus"],
        "config": resource.status.get("config_name"),
        "reason": resource.status.get("FailureReason", ""),
    }
    rollout = memory.rollout
    if rollout is None or memory.target is None:
        return {**shown, "rollout": None}
    stages = rollouts.stages(rollout.policy, rollout.blue, rollout.green)
    extent = rollouts.extent(rollout)
    return {
        **shown,
        "rollout": {
            "to": memory.target.config_name,
            "policy": rollout.policy.kind,
            "stage": rollout.stage + 1,
            "stages": len(stages),
            "doing": _doing(rollout),
            "why_back": rollout.back,
            "baked_seconds": rollout.baked,
            "bake_seconds": stages[rollout.stage].bake,
            "elapsed_seconds": rollout.elapsed,
            "held": bool((resource.spec.get("steering") or {}).get("hold")),
            "alarms": list(rollout.policy.alarms),
            "dry_run_alarms": list(rollout.policy.dry_run),
            "route_header": "=".join(filter(None, rollout.policy.header)),
            "checks": [msgspec.to_builtins(one) for one in checks_seen(rollout)],
            "test": msgspec.to_builtins(rollout.tried),
            "tests": rollout.policy.tests,
            "doubt": rollout.doubt,
            "would_have_gone_back": {name: stage + 1 for name, stage in rollout.noted.items()},
            "shares": {name: rollouts.shares(extent, name)[1] for name in sorted(rollout.green)},
        },
    }


async def report(
    store: ResourceStore, books: BookReader, account: str, target: str
) -> Mapping[str, Any]:
    """``/_modelyard/rollouts/report?endpoint=NAME&region=REGION``: the endpoint's ledgers, oldest first.

    One that is open shows what its gateways have entered by now.
    """
    key, _ = _asked(account, target)
    resource = _found(key, store.get(key))
    shown = []
    for ledger in ledgers_of(resource.status):
        if not ledger.closed:
            counts = await asyncio.to_thread(books.counts, ledger.id)
            ledger = msgspec.structs.replace(ledger, totals=totals_of(counts))  # noqa: PLW2901 - the same, as of now
        shown.append(msgspec.to_builtins(ledger))
    return {"endpoint": key.name, "status": resource.status["EndpointStatus"], "rollouts": shown}


def _doing(rollout: Rollout) -> str:
    if rollout.back:
        return "going back"
    if rollout.doubt:
        return "waiting in doubt"
    if rollout.at_gate:
        return "waiting at its gate"
    if rollout.policy.tests and rollout.tried is None:
        return "starting, to be tested"
    return "baking" if rollout.shifted else "starting"


def _told(word: str, rollout: Rollout) -> Json:
    match word:
        case "pause":
            return {"hold": True}
        case "resume":
            return {"hold": False, **_trusted(rollout), **_opened(rollout)}
        case "promote":
            return {"hold": False, "go": rollout.stage, **_trusted(rollout), **_opened(rollout)}
        case _:
            return {"abort": True}


def _opened(rollout: Rollout) -> Json:
    """The gate before this stage's traffic is open from now on; the next stage has its own."""
    return {} if rollout.shifted else {"passed": rollout.stage}


def _trusted(rollout: Rollout) -> Json:
    """What a check left in doubt is overruled; the next doubt is another one."""
    return {"trusted": rollout.doubts}


def _asked(account: str, target: str) -> tuple[Key, str]:
    query = parse_qs(target.partition("?")[2])
    name, region, word = (query.get(part, [""])[0] for part in ("endpoint", "region", "word"))
    return Key(kind="endpoint", account=account, region=region, name=name), word


def _found(key: Key, resource: Resource | None) -> Resource:
    if resource is None:
        raise ServiceError(
            "ValidationException", f"There is no endpoint {key.name} in {key.region}.", status=404
        )
    return resource


def _rollout(resource: Resource) -> Rollout:
    rollout = endpoint_memory(resource).rollout
    if rollout is None:
        raise ValidationError(f"Nothing is being rolled out on endpoint {resource.key.name}.")
    return rollout
