"""Who hibernates, and when: by the tag, by ServerlessConfig, never where concurrency is reserved."""

from typing import Any

import pytest

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import Capacity, Container, Fleet, Resize, Variant
from modelyard.domain.hibernation import TAG, Idle, after_of, awake, decide, seconds_of

CONTAINER = Container(name="primary", image="i", runtime="r")
NAMES = ("a", "b")
FLEET = Fleet(
    owner="o",
    generation=1,
    created_at=0.0,
    variants=tuple(
        Variant(name=name, instance_type="", count=2, weight=1.0, containers=(CONTAINER,))
        for name in NAMES
    ),
)
SERVING = Memory(serving=FLEET)


def after(variant: dict[str, Any], tag: str | None = None, **config: Any) -> dict[str, float]:
    tags = [] if tag is None else [{"Key": TAG, "Value": tag}]
    config = {"ProductionVariants": [{"VariantName": "v", **variant}], **config}
    return after_of(config, tags, serverless_seconds=300.0)


def test_serverless_variants_hibernate_by_the_setting_or_by_the_tag() -> None:
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 5}}
    assert after(serverless) == {"v": 300.0}
    assert after(serverless, "60") == {"v": 60.0}


def test_instances_stay_unless_the_tag_says_otherwise() -> None:
    assert after({"InitialInstanceCount": 1}) == {}
    assert after({"InitialInstanceCount": 1}, "60") == {"v": 60.0}
    assert after({"InitialInstanceCount": 1}, "soon") == {}


def test_reserved_concurrency_and_what_has_a_shadow_are_kept_warm() -> None:
    reserved = {"MemorySizeInMB": 1024, "MaxConcurrency": 5, "ProvisionedConcurrency": 1}
    assert after({"ServerlessConfig": reserved}, "60") == {}
    assert after({}, "60", ShadowProductionVariants=[{"VariantName": "s"}]) == {}


def test_an_asynchronous_endpoint_stays_since_none_of_its_requests_would_wake_it() -> None:
    output = {"OutputConfig": {"S3OutputPath": "s3://results/"}}
    assert after({"InitialInstanceCount": 1}, "60", AsyncInferenceConfig=output) == {}


@pytest.mark.parametrize("text", ["", "soon", "9", "-1", "nan", "inf", "1e9"])
def test_a_tag_that_says_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give a number of seconds from 10 to 604800"):
        seconds_of([{"Key": TAG, "Value": text}])
    assert seconds_of([{"Key": "other", "Value": text}]) is None


def test_each_variant_sleeps_by_its_own_use() -> None:
    idle = Idle(after={"a": 20.0, "b": 20.0}, ages={"a": 20.0, "b": 5.0})
    memory, seconds = decide(SERVING, idle)
    assert memory.asleep == ("a",)
    assert seconds == 15.0
    assert [one.count for one in awake(FLEET, memory.asleep).variants] == [0, 2]


def test_what_sleeps_and_was_not_heard_of_since_sleeps_on() -> None:
    asleep = Memory(serving=FLEET, asleep=("a",))
    idle = Idle(after={"a": 20.0, "b": 20.0}, ages={"b": 0.0})
    assert decide(asleep, idle) == (asleep, 20.0)


def test_a_use_wakes_and_so_does_the_end_of_the_tag() -> None:
    asleep = Memory(serving=FLEET, asleep=NAMES)
    idle = Idle(after={"a": 20.0}, ages={"a": 0.0})
    assert decide(asleep, idle)[0].asleep == ()


def test_nothing_sleeps_while_the_endpoint_changes() -> None:
    resize = Resize(before={"a": Capacity(count=1, weight=1.0)}, since=0.0)
    memory = Memory(serving=FLEET, asleep=NAMES, resize=resize)
    idle = Idle(after={"a": 20.0}, ages={"a": 60.0})
    assert decide(memory, idle)[0].asleep == ()
