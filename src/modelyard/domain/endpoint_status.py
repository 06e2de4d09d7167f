"""What an endpoint shows of itself: ``DescribeEndpoint``'s variants and its pending deployment. Pure."""

from collections.abc import Sequence
from typing import Any

from modelyard.domain import rollout as rollouts
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_steps import SaveStatus
from modelyard.domain.fleet import Fleet, Placement, Resize, Variant
from modelyard.domain.rollout import Rollout


def status_step(
    memory: Memory, ready: Sequence[Placement], green_ready: Sequence[Placement] = ()
) -> SaveStatus:
    shown = memory.serving or memory.target
    if memory.rollout is not None:
        # The way back ended with instances that cannot be started: what there is of both fleets serves on.
        status = "UpdateRollbackFailed" if memory.failure else "Updating"
    elif memory.target is not None:
        status = "Creating"
    elif memory.resize is not None:
        status = "RollingBack" if memory.resize.back else "Updating"
    else:
        status = "InService" if memory.serving else "Failed"
    summaries = (
        [
            (variant, _summary(variant, shown, ready, status) | _resizing(variant, memory.resize))
            for variant in shown.variants
        ]
        if shown
        else []
    )
    return SaveStatus(
        endpoint_status=status,
        failure_reason=memory.failure,
        generation=memory.serving.generation if memory.serving else 0,
        config_name=shown.config_name if shown else "",
        variants=[summary for variant, summary in summaries if not variant.shadow],
        shadows=[summary for variant, summary in summaries if variant.shadow],
        memory=memory,
        pending=_pending(memory, green_ready),
    )


def _resizing(variant: Variant, resize: Resize | None) -> dict[str, Any]:
    """``VariantStatus`` of a variant whose count changes in place."""
    if resize is None or resize.back:
        return {}
    before = resize.before[variant.name].count
    if before == variant.count:
        return {}
    way = "out" if variant.count > before else "in"
    text = f"Scaling {way} desired instance count to {variant.count}."
    status = {"Status": "Updating", "StatusMessage": text, "StartTime": resize.since}
    return {"VariantStatus": [status]}


def _pending(memory: Memory, ready: Sequence[Placement]) -> dict[str, Any] | None:
    """``PendingDeploymentSummary``: the fleet that is on its way."""
    rollout, green = memory.rollout, memory.target
    if rollout is None or green is None:
        return None
    variants: list[dict[str, Any]] = []
    shadows: list[dict[str, Any]] = []
    for variant in green.variants:
        summary = _summary(variant, green, ready, "Updating")
        summary["VariantStatus"] = [_stage_status(rollout, variant, green)]
        (shadows if variant.shadow else variants).append(summary)
    pending = {
        "EndpointConfigName": green.config_name,
        "ProductionVariants": variants,
        "StartTime": green.created_at,
    }
    return {**pending, "ShadowProductionVariants": shadows} if shadows else pending


def _stage_status(rollout: Rollout, variant: Variant, green: Fleet) -> dict[str, Any]:
    """``VariantStatus``, in the words that AWS uses (rollouts.md, section 5)."""
    extent = rollouts.extent(rollout)
    if variant.shadow:
        return _shadow_status(rollout, variant, green)
    name = variant.name
    if rollout.back:
        status, text = "Deleting", f"Terminating {extent.green.get(name, 0)} instance(s)."
    elif not rollout.shifted:
        status, text = "Creating", f"Launching {extent.green.get(name, 0)} instance(s)."
    else:
        on = extent.green_on.get(name, 0)
        status, text = "Baking", _baking(rollout, on)
    return {"Status": status, "StatusMessage": text, "StartTime": green.created_at}


def _baking(rollout: Rollout, on: int) -> str:
    """``on``: instances with traffic. A canary of a small variant may be all of it, and is a canary still."""
    kind = rollout.policy.kind
    stages = rollouts.stages(rollout.policy, rollout.blue, rollout.green)
    is_last = rollout.stage == len(stages) - 1
    part = "full" if is_last else "canary" if kind == "CANARY" else "partial"
    ends = is_last and kind != "ROLLING"
    named = "TerminationWaitInSeconds" if ends else "WaitIntervalInSeconds"
    return (
        f"Baking for {stages[rollout.stage].bake:g} seconds ({named}) with traffic enabled on {part} "
        f"capacity of {on} instance(s)."
    )


def _shadow_status(rollout: Rollout, variant: Variant, green: Fleet) -> dict[str, Any]:
    """A shadow takes no traffic of its own: it starts, gets copies, or ends."""
    if rollout.back:
        status, text = "Deleting", f"Terminating {variant.count} instance(s)."
    elif rollout.shifted or rollout.stage:
        status, text = "Baking", f"Copying requests to {variant.count} instance(s)."
    else:
        status, text = "Creating", f"Launching {variant.count} instance(s)."
    return {"Status": status, "StatusMessage": text, "StartTime": green.created_at}


def _summary(
    variant: Variant, fleet: Fleet, ready: Sequence[Placement], status: str
) -> dict[str, Any]:
    """``ProductionVariantSummary``."""
    workers = sum(placement.variant.name == variant.name for placement in ready)
    serverless = variant.serverless
    size: dict[str, Any] = {
        "CurrentInstanceCount": workers // len(variant.containers),
        "DesiredInstanceCount": variant.count,
    }
    if serverless is not None:
        shown = {"MemorySizeInMB": serverless.memory, "MaxConcurrency": serverless.concurrency}
        if serverless.provisioned:
            shown["ProvisionedConcurrency"] = serverless.provisioned
        # AWS says that there are no instances, whether any worker runs or not.
        size = {"CurrentInstanceCount": 0}
        size |= {"CurrentServerlessConfig": shown, "DesiredServerlessConfig": shown}
    summary: dict[str, Any] = {
        "VariantName": variant.name,
        "DeployedImages": [
            {
                "SpecifiedImage": container.image,
                "ResolvedImage": container.image,
                "ResolutionTime": fleet.created_at,
            }
            for container in variant.containers
        ],
        "CurrentWeight": variant.weight,
        "DesiredWeight": variant.weight,
        **size,
    }
    if status == "Creating":
        summary["VariantStatus"] = [{"Status": "Creating", "StartTime": fleet.created_at}]
    return summary
