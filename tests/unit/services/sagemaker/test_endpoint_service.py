import asyncio
from typing import Any

import pytest

from modelyard.base.errors import ServiceError, ValidationError
from modelyard.services.changes import ATTEMPTS
from modelyard.store.resources import Key, VersionConflict

pytestmark = pytest.mark.anyio
ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/live"


@pytest.fixture
async def ready(sagemaker: Any) -> Any:
    """With a model, a config and an endpoint in service."""
    await sagemaker.model()
    await sagemaker.config()
    await sagemaker.endpoint()
    await sagemaker.move("endpoint", "live", EndpointStatus="InService", generation=1)
    return sagemaker


async def test_a_new_endpoint_is_creating_and_has_copies_of_its_own(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker.config()
    assert await sagemaker.endpoint("Live") == ARN

    spec = sagemaker.spec("endpoint", "Live")
    assert spec["generation"] == 1
    assert spec["config"] == sagemaker.spec("endpoint-config", "config")
    assert spec["models"] == {"churn": sagemaker.spec("model", "churn")}
    assert await sagemaker("DescribeEndpoint", EndpointName="Live") == {
        "EndpointName": "Live",
        "EndpointArn": ARN,
        "EndpointConfigName": "config",
        "EndpointStatus": "Creating",
        "CreationTime": 1000.0,
        "LastModifiedTime": 1000.0,
    }


async def test_deleting_config_and_model_leaves_the_endpoint_alone(ready: Any) -> None:
    before = ready.spec("endpoint", "live")
    await ready("DeleteEndpointConfig", EndpointConfigName="config")
    await ready("DeleteModel", ModelName="churn")
    assert ready.spec("endpoint", "live") == before
    assert (await ready("DescribeEndpoint", EndpointName="live"))["EndpointStatus"] == "InService"


async def test_what_the_reconciler_found_is_shown(ready: Any) -> None:
    variants = [
        {
            "VariantName": "AllTraffic",
            "CurrentWeight": 1.0,
            "DesiredWeight": 1.0,
            "CurrentInstanceCount": 1,
            "DesiredInstanceCount": 1,
            "DeployedImages": [
                {"SpecifiedImage": "i", "ResolvedImage": "i", "ResolutionTime": 1.0}
            ],
        }
    ]
    await ready.move("endpoint", "live", FailureReason="why", variants=variants, last_modified=7.0)
    shown = await ready("DescribeEndpoint", EndpointName="live")
    assert shown["ProductionVariants"] == variants
    assert (shown["FailureReason"], shown["LastModifiedTime"]) == ("why", 7.0)


async def test_the_config_that_serves_may_be_rolled_out_again(ready: Any) -> None:
    await ready("UpdateEndpoint", EndpointName="live", EndpointConfigName="config")
    assert ready.spec("endpoint", "live")["rolled"] == 2
    shown = await ready("DescribeEndpoint", EndpointName="live")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("Updating", "config")


@pytest.mark.parametrize("operation", ["DescribeEndpoint", "DeleteEndpoint"])
async def test_a_missing_endpoint_is_a_validation_exception(sagemaker: Any, operation: str) -> None:
    with pytest.raises(ValidationError) as caught:
        await sagemaker(operation, EndpointName="Live")
    assert caught.value.message == f'Could not find endpoint "{ARN}".'


async def test_names_collide_without_case(ready: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        await ready.endpoint("LIVE")
    assert caught.value.message == f'Cannot create already existing endpoint "{ARN}".'


async def test_the_config_must_exist(sagemaker: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        await sagemaker.endpoint(config="Gone")
    assert caught.value.message == (
        "Could not find endpoint configuration "
        '"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/gone".'
    )


async def test_the_models_must_still_exist(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker.config()
    await sagemaker("DeleteModel", ModelName="churn")
    with pytest.raises(ValidationError, match="Could not find model"):
        await sagemaker.endpoint()


async def test_an_update_raises_the_generation_and_keeps_showing_what_serves(ready: Any) -> None:
    await ready.model("better")
    await ready.config("next", model="better", InitialInstanceCount=2)
    await ready.move("endpoint", "live", FailureReason="of an earlier update")
    ready.clock.advance(5)

    updated = await ready("UpdateEndpoint", EndpointName="live", EndpointConfigName="next")

    assert updated == {"EndpointArn": ARN}
    spec = ready.spec("endpoint", "live")
    assert (spec["generation"], list(spec["models"])) == (2, ["better"])
    shown = await ready("DescribeEndpoint", EndpointName="live")
    assert shown["EndpointStatus"] == "Updating"
    assert shown["EndpointConfigName"] == "config"
    assert (shown["CreationTime"], shown["LastModifiedTime"]) == (1000.0, 1005.0)
    assert "FailureReason" not in shown


@pytest.mark.parametrize("status", ["Creating", "Updating", "Deleting"])
@pytest.mark.parametrize("operation", ["UpdateEndpoint", "DeleteEndpoint"])
async def test_an_endpoint_in_progress_is_left_to_it(
    ready: Any, status: str, operation: str
) -> None:
    await ready.move("endpoint", "live", EndpointStatus=status)
    before = ready.spec("endpoint", "live")
    more = {"EndpointConfigName": "config"} if operation == "UpdateEndpoint" else {}
    with pytest.raises(ValidationError) as caught:
        await ready(operation, EndpointName="live", **more)
    assert caught.value.message == f'Cannot update in-progress endpoint "{ARN}".'
    assert ready.spec("endpoint", "live") == before


async def test_a_failed_endpoint_can_only_be_deleted(ready: Any) -> None:
    await ready.move("endpoint", "live", EndpointStatus="Failed")
    with pytest.raises(ValidationError, match="only be deleted"):
        await ready("UpdateEndpoint", EndpointName="live", EndpointConfigName="config")
    await ready("DeleteEndpoint", EndpointName="live")
    assert ready.spec("endpoint", "live")["deleting"] is True
    assert (await ready("DescribeEndpoint", EndpointName="live"))["EndpointStatus"] == "Deleting"


def blue_green(routing: dict[str, Any], **policy: Any) -> dict[str, Any]:
    routing = {"WaitIntervalInSeconds": 60, **routing}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **policy}}


def size(percent: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": percent}


ROLLING = {"MaximumBatchSize": size(50), "WaitIntervalInSeconds": 0}


@pytest.mark.parametrize(
    "deployment",
    [
        {},
        {"AutoRollbackConfiguration": {}},
        blue_green({"Type": "ALL_AT_ONCE"}, TerminationWaitInSeconds=60),
        blue_green({"Type": "CANARY", "CanarySize": size(50)}),
        blue_green({"Type": "LINEAR", "LinearStepSize": size(10)}),
        {"RollingUpdatePolicy": ROLLING},
        blue_green({"Type": "ALL_AT_ONCE"}, MaximumExecutionTimeoutInSeconds=600),
    ],
)
async def test_every_kind_of_rollout_is_taken_and_shown(
    ready: Any, deployment: dict[str, Any]
) -> None:
    names = {"EndpointName": "live", "EndpointConfigName": "config"}
    await ready("UpdateEndpoint", **names, DeploymentConfig=deployment)
    shown = await ready("DescribeEndpoint", EndpointName="live")
    assert shown["LastDeploymentConfig"] == deployment


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        ({**blue_green({"Type": "ALL_AT_ONCE"}), "RollingUpdatePolicy": ROLLING}, "not both"),
        (blue_green({"Type": "CANARY"}), "needs CanarySize"),
        (blue_green({"Type": "CANARY", "CanarySize": size(51)}), "1 to 50 percent"),
        (blue_green({"Type": "LINEAR", "LinearStepSize": size(9)}), "10 to 50 percent"),
        (
            blue_green({"Type": "LINEAR", "CanarySize": size(9)}),
            "CanarySize is for traffic routing of type CANARY",
        ),
        (
            blue_green({"Type": "ALL_AT_ONCE", "CanarySize": size(9)}),
            "is for traffic routing of type CANARY",
        ),
        ({"RollingUpdatePolicy": {**ROLLING, "MaximumBatchSize": size(60)}}, "5 to 50 percent"),
        (
            {
                "RollingUpdatePolicy": {
                    **ROLLING,
                    "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 9},
                }
            },
            "at most 50 percent",
        ),
        (
            blue_green(
                {"Type": "CANARY", "CanarySize": size(50), "WaitIntervalInSeconds": 600},
                MaximumExecutionTimeoutInSeconds=600,
            ),
            "has to exceed the sum of the waits",
        ),
        ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}, "Could not find alarm a"),
    ],
)
async def test_a_rollout_that_contradicts_itself_is_refused(
    ready: Any, deployment: dict[str, Any], message: str
) -> None:
    before = ready.spec("endpoint", "live")
    names = {"EndpointName": "live", "EndpointConfigName": "config"}
    with pytest.raises(ValidationError, match=message):
        await ready("UpdateEndpoint", **names, DeploymentConfig=deployment)
    assert ready.spec("endpoint", "live") == before


async def test_the_last_deployment_is_retained_or_given_anew(ready: Any) -> None:
    names = {"EndpointName": "live", "EndpointConfigName": "config"}
    policy = blue_green({"Type": "CANARY", "CanarySize": size(50)})
    with pytest.raises(ValidationError, match="not both"):
        await ready("UpdateEndpoint", **names, DeploymentConfig=policy, RetainDeploymentConfig=True)


async def test_retained_properties_are_those_of_the_variants_that_serve(ready: Any) -> None:
    await ready(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="live",
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredWeight": 3.0, "DesiredInstanceCount": 4}
        ],
    )
    await ready.move("endpoint", "live", EndpointStatus="InService", generation=2)
    await ready(
        "UpdateEndpoint",
        EndpointName="live",
        EndpointConfigName="config",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    spec = ready.spec("endpoint", "live")
    (variant,) = spec["config"]["ProductionVariants"]
    assert variant["InitialInstanceCount"] == 4
    assert "InitialVariantWeight" not in variant
    assert spec["generation"] == 3


async def test_weights_and_capacities_change_only_what_they_name(ready: Any) -> None:
    await ready(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="live",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 0.5}],
    )
    spec = ready.spec("endpoint", "live")
    (variant,) = spec["config"]["ProductionVariants"]
    assert (variant["InitialVariantWeight"], variant["InitialInstanceCount"]) == (0.5, 1)
    assert spec["capacity"] == {"AllTraffic": {"count": 1, "weight": 0.5}}
    assert (spec["generation"], spec["rolled"]) == (2, 1)
    config = ready.spec("endpoint-config", "config")
    assert "InitialVariantWeight" not in config["ProductionVariants"][0]


def shown(name: str, *, count: int = 1, weight: float = 1.0) -> dict[str, Any]:
    return {"VariantName": name, "DesiredInstanceCount": count, "DesiredWeight": weight}


async def test_what_serves_is_changed_though_an_update_was_turned_back(ready: Any) -> None:
    await ready.config("next", InitialInstanceCount=7, VariantName="other")
    await ready("UpdateEndpoint", EndpointName="live", EndpointConfigName="next")
    status = {"EndpointStatus": "InService", "variants": [shown("AllTraffic", count=2)]}
    await ready.move("endpoint", "live", **status)
    await ready(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="live",
        DesiredWeightsAndCapacities=[shown("AllTraffic", count=3)],
    )
    spec = ready.spec("endpoint", "live")
    assert spec["capacity"] == {"AllTraffic": {"count": 3, "weight": 1.0}}
    assert (spec["generation"], spec["rolled"]) == (3, 2)


@pytest.mark.parametrize(
    ("desires", "message"),
    [
        (
            [{"VariantName": "nobody", "DesiredWeight": 1.0}],
            '"nobody" is/are not present within endpoint configuration "config"',
        ),
        ([shown("a", weight=0.0), shown("b", weight=0.0)], "above 0"),
        ([shown("a", count=2), shown("b", count=2)], "capacity of one variant, not of a, b"),
        ([shown("a"), shown("a")], 'variant name "a" was non-unique'),
    ],
)
async def test_capacities_that_cannot_be_are_refused(
    ready: Any, desires: list[dict[str, Any]], message: str
) -> None:
    await ready.move("endpoint", "live", variants=[shown("a"), shown("b")])
    before = ready.spec("endpoint", "live")
    with pytest.raises(ValidationError, match=message):
        await ready(
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="live",
            DesiredWeightsAndCapacities=desires,
        )
    assert ready.spec("endpoint", "live") == before


async def test_one_variants_count_and_every_weight_change_in_one_call(ready: Any) -> None:
    await ready.move("endpoint", "live", variants=[shown("a"), shown("b")])
    await ready(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="live",
        DesiredWeightsAndCapacities=[shown("a", weight=0.0), shown("b", count=4, weight=2.0)],
    )
    assert ready.spec("endpoint", "live")["capacity"] == {
        "a": {"count": 1, "weight": 0.0},
        "b": {"count": 4, "weight": 2.0},
    }


@pytest.mark.parametrize("status", ["Updating", "RollingBack", "Failed", "UpdateRollbackFailed"])
async def test_only_an_endpoint_in_service_changes_its_capacity(ready: Any, status: str) -> None:
    await ready.move("endpoint", "live", EndpointStatus=status)
    with pytest.raises(ValidationError, match="Cannot "):
        await ready(
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="live",
            DesiredWeightsAndCapacities=[shown("AllTraffic")],
        )


async def test_a_variant_without_instances_is_refused(ready: Any) -> None:
    with pytest.raises(ValidationError, match="must be 1 or more"):
        await ready(
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="live",
            DesiredWeightsAndCapacities=[shown("AllTraffic", count=0)],
        )


async def test_of_two_updates_at_once_one_is_refused(ready: Any) -> None:
    outcomes = await asyncio.gather(
        *(
            ready("UpdateEndpoint", EndpointName="live", EndpointConfigName="config")
            for _ in range(2)
        ),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, ValidationError) for one in outcomes) == [False, True]
    assert ready.spec("endpoint", "live")["generation"] == 2


async def test_a_change_gives_up_when_others_keep_winning(ready: Any) -> None:
    tries = 0
    write = ready.store.write

    async def lose(*changes: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= ATTEMPTS:
            raise VersionConflict(changes[0].key)
        return await write(*changes)

    ready.store.write = lose
    with pytest.raises(ServiceError) as caught:
        await ready("DeleteEndpoint", EndpointName="live")
    assert (caught.value.code, caught.value.status) == ("ServiceUnavailable", 503)
    await ready("DeleteEndpoint", EndpointName="live")
    key = Key(kind="endpoint", account="123456789012", region="us-east-1", name="live")
    assert ready.store.get(key).status["EndpointStatus"] == "Deleting"


async def test_endpoints_are_listed_by_status_and_time(ready: Any) -> None:
    ready.clock.advance(10)
    await ready.endpoint("young")
    listed = await ready("ListEndpoints")
    assert [one["EndpointName"] for one in listed["Endpoints"]] == ["young", "live"]
    creating = await ready("ListEndpoints", StatusEquals="Creating")
    assert creating["Endpoints"] == [
        {
            "EndpointName": "young",
            "EndpointArn": ARN.replace("live", "young"),
            "CreationTime": 1010.0,
            "LastModifiedTime": 1010.0,
            "EndpointStatus": "Creating",
        }
    ]
    old = await ready("ListEndpoints", LastModifiedTimeBefore=1010.0, SortBy="Status")
    assert [one["EndpointName"] for one in old["Endpoints"]] == ["live"]
