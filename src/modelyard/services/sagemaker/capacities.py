"""Instances and weights of an endpoint's variants: what serves, what is asked for, what another config keeps of both."""

from collections.abc import Mapping, Sequence

from modelyard.base.errors import ValidationError
from modelyard.services.members import present
from modelyard.store.resources import Json, Resource

_MEMBER_OF = {"count": "InitialInstanceCount", "weight": "InitialVariantWeight"}


def counts_of(config: Json) -> dict[str, int]:
    """Instances by variant."""
    return {
        variant["VariantName"]: variant.get("InitialInstanceCount", 1)
        for variant in config["ProductionVariants"]
    }


def capacities_of(resource: Resource) -> dict[str, Json]:
    """Count and weight of each variant that serves, as they were last asked for."""
    shown = [*resource.status.get("variants", ()), *resource.status.get("shadows", ())]
    if shown:
        return {
            one["VariantName"]: {
                "count": one.get("DesiredInstanceCount", 1),
                "weight": one["DesiredWeight"],
            }
            for one in shown
        }
    return {
        one["VariantName"]: {
            "count": one.get("InitialInstanceCount", 1),
            "weight": one.get("InitialVariantWeight", 1.0),
        }
        for one in variants_of(resource.spec["config"])
    }


def variants_of(config: Json) -> list[Json]:
    """All that an endpoint config starts."""
    return [*config["ProductionVariants"], *(config.get("ShadowProductionVariants") or ())]


def sized(config: Json, capacities: Mapping[str, Json]) -> Json:
    """The config with these counts and weights for those of its variants that they name."""

    def resized(variant: Json) -> Json:
        given = capacities.get(variant["VariantName"], {})
        return {**variant, **{_MEMBER_OF[name]: value for name, value in given.items()}}

    members = ("ProductionVariants", "ShadowProductionVariants")
    found = {name: [resized(one) for one in config[name]] for name in members if config.get(name)}
    return {**config, **found}


def kept(resource: Resource, config: Json) -> dict[str, Json]:
    """Count and weight of what serves and goes on as it is: a shadow that is promoted keeps neither."""
    before = {one["VariantName"] for one in resource.status.get("shadows", ())}
    after = {one["VariantName"] for one in config.get("ShadowProductionVariants") or ()}
    return {
        name: size
        for name, size in capacities_of(resource).items()
        if (name in before) == (name in after)
    }


def retained(config: Json, serving: Mapping[str, Json], excluded: set[str]) -> Json:
    """The new config with the weights and counts that variants of the same name have now.

    One that is scaled to zero gets an instance: nothing is rolled out that was not seen to start.
    """
    names = {"DesiredInstanceCount": "count", "DesiredWeight": "weight"}
    keeps = [name for property_type, name in names.items() if property_type not in excluded]
    some = {variant: {**now, "count": max(1, now["count"])} for variant, now in serving.items()}
    return sized(
        config, {variant: {name: now[name] for name in keeps} for variant, now in some.items()}
    )


def desired(
    serving: Mapping[str, Json], desires: Sequence[Json], *, config_name: str
) -> dict[str, Json]:
    """What is asked for, of every variant. Raises ``ValidationError``; the rules are AWS's."""
    wanted = {name: dict(now) for name, now in serving.items()}
    named = [desire["VariantName"] for desire in desires]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise ValidationError(f'The variant name "{twice}" was non-unique within the request.')
    if unknown := [name for name in named if name not in wanted]:
        raise ValidationError(
            f'The variant name(s) "{", ".join(unknown)}" is/are not present within endpoint configuration '
            f'"{config_name}".'
        )
    for desire in desires:
        name = desire["VariantName"]
        given = {"weight": desire.get("DesiredWeight"), "count": desire.get("DesiredInstanceCount")}
        wanted[name] |= present(given)
    resized = [name for name, size in wanted.items() if size["count"] != serving[name]["count"]]
    if len(resized) > 1:
        raise ValidationError(
            f"One call changes the capacity of one variant, not of {', '.join(resized)}: call once for each."
        )
    return wanted


def check_counts(resource: Resource, wanted: Mapping[str, Json]) -> None:
    """Requests of an asynchronous endpoint wait in its queue until there is an instance; those of others would be lost."""
    none = [name for name, size in wanted.items() if size["count"] < 1]
    if none and not resource.spec["config"].get("AsyncInferenceConfig"):
        raise ValidationError(
            f"DesiredInstanceCount of variant {none[0]} must be 1 or more: only variants of asynchronous endpoints "
            "scale to zero."
        )


def check_weights(resource: Resource, wanted: Mapping[str, Json]) -> None:
    """A shadow's weight is no help: it answers nobody."""
    shadows = {one["VariantName"] for one in resource.status.get("shadows", ())}
    if sum(size["weight"] for name, size in wanted.items() if name not in shadows) <= 0:
        raise ValidationError(
            "At least one variant needs a weight above 0, or no request could be answered."
        )
