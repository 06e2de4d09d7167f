"""What AWS does not take of a serverless variant (hosting.md, section 6)."""

from modelyard.base.errors import ValidationError
from modelyard.store.resources import Json

_STEP = 1024
_NOT_WITH_IT = (
    "InstanceType",
    "InitialInstanceCount",
    "AcceleratorType",
    "VolumeSizeInGB",
    "ModelDataDownloadTimeoutInSeconds",
    "ContainerStartupHealthCheckTimeoutInSeconds",
    "RoutingConfig",
    "ManagedInstanceScaling",
    "InferenceAmiVersion",
)


def check_variant(variant: Json, model: Json) -> None:
    """Raises ``ValidationError`` for a serverless variant that cannot be."""
    where, serverless = f"Variant {variant['VariantName']}", variant["ServerlessConfig"]
    for member in _NOT_WITH_IT:
        if member in variant:
            raise ValidationError(f"{where} is serverless: leave out {member}.")
    memory = serverless["MemorySizeInMB"]
    if memory % _STEP:
        raise ValidationError(
            f"{where}: MemorySizeInMB is {memory}, but has to be 1024, 2048, 3072, 4096, 5120 or 6144."
        )
    reserved, most = serverless.get("ProvisionedConcurrency", 0), serverless["MaxConcurrency"]
    if reserved > most:
        raise ValidationError(
            f"{where}: ProvisionedConcurrency is {reserved}, more than MaxConcurrency {most}."
        )
    containers = [model["PrimaryContainer"]] if model.get("PrimaryContainer") else []
    containers += model.get("Containers") or []
    if len(containers) > 1 or containers[0].get("Mode") == "MultiModel":
        raise ValidationError(
            f"{where} is serverless: its model has one container, and that one model."
        )
    if model.get("VpcConfig") or model.get("EnableNetworkIsolation"):
        raise ValidationError(
            f"{where} is serverless: its model has neither VpcConfig nor EnableNetworkIsolation."
        )


def check_config(spec: Json) -> None:
    """Raises ``ValidationError`` for an endpoint configuration that a serverless variant cannot be part of."""
    variants = [*spec["ProductionVariants"], *(spec.get("ShadowProductionVariants") or ())]
    if not any("ServerlessConfig" in one for one in variants):
        return
    if len(variants) > 1:
        raise ValidationError("A serverless variant is the only one of its endpoint configuration.")
    if (spec.get("DataCaptureConfig") or {}).get("EnableCapture"):
        raise ValidationError("Data capture is for endpoints that are not serverless.")
    if spec.get("AsyncInferenceConfig"):
        raise ValidationError("Asynchronous inference is for endpoints that are not serverless.")


def is_serverless(config: Json) -> bool:
    """Of an endpoint configuration."""
    return any("ServerlessConfig" in one for one in config["ProductionVariants"])
