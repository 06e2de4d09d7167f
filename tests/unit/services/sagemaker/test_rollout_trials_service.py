"""Documents of checks and tests that an update is given by tags: what is kept, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.errors import ServiceError, ValidationError

pytestmark = pytest.mark.anyio
ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/live"
GUIDE = Path(__file__).parents[4] / "docs/guides/rollouts.md"
CHECKS, TEST = "s3://rules/checks.json", "s3://rules/test.jsonl"


def query(name: str, metric: str = "Invocations", config: str = "{GreenEndpointConfigName}") -> Any:
    dimensions = {
        "EndpointName": "{EndpointName}",
        "VariantName": "{VariantName}",
        "EndpointConfigName": config,
    }
    stat = {
        "Namespace": "AWS/SageMaker",
        "MetricName": metric,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }
    return {"Id": name, "MetricStat": {"Metric": stat, "Period": 10, "Stat": "Sum"}}


CHECK: dict[str, Any] = {
    "Name": "slower",
    "Expression": "new / old",
    "Metrics": [
        query("new", "ModelLatency"),
        query("old", "ModelLatency", "{BlueEndpointConfigName}"),
    ],
    "Condition": "<= 1.2",
    "IntervalSeconds": 30,
    "FailureLimit": 2,
}
DEPLOYMENT = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        "TerminationWaitInSeconds": 60,
    }
}


@pytest.fixture
async def ready(sagemaker: Any) -> Any:
    await sagemaker.model()
    await sagemaker.config()
    await sagemaker.config("next", VariantName="AllTraffic", InitialInstanceCount=2)
    await sagemaker.endpoint()
    await sagemaker.move("endpoint", "live", EndpointStatus="InService", generation=1)
    return sagemaker


async def update(
    ready: Any,
    *,
    checks: Any = None,
    test: bytes | None = None,
    config: str = "next",
    **members: Any,
) -> dict[str, Any]:
    tags = []
    if checks is not None:
        ready.documents[CHECKS] = (
            checks if isinstance(checks, bytes) else json.dumps(checks).encode()
        )
        tags.append({"Key": "modelyard:rollout-checks", "Value": CHECKS})
    if test is not None:
        ready.documents[TEST] = test
        tags.append({"Key": "modelyard:pre-traffic-test", "Value": TEST})
    if tags:
        await ready("AddTags", ResourceArn=ARN, Tags=tags)
    members.setdefault("DeploymentConfig", DEPLOYMENT)
    await ready("UpdateEndpoint", EndpointName="live", EndpointConfigName=config, **members)
    found: dict[str, Any] = ready.spec("endpoint", "live")
    return found


async def test_what_the_documents_say_is_kept_with_the_update(ready: Any) -> None:
    test = b'{"Body": [[1, 2]], "Expect": {"Body": [3], "Within": 0.1}}\n\n{"BodyBase64": "MSwy", "ContentType": "text/csv"}\n'
    trials = (await update(ready, checks=[CHECK], test=test))["trials"]
    (kept,) = trials["checks"]
    assert kept["check"]["expression"] == "new / old"
    assert (kept["check"]["failures_max"], kept["period"]) == (2, 10)
    values = [
        [one["Value"] for one in query["MetricStat"]["Metric"]["Dimensions"]]
        for query in kept["metrics"]
    ]
    assert values == [["live", "AllTraffic", "next"], ["live", "AllTraffic", "config"]]
    assert [one.get("content_type") for one in trials["test"]] == ["application/json", "text/csv"]
    ready.documents.clear()
    assert ready.spec("endpoint", "live")["trials"] == trials


async def test_an_update_without_the_tags_has_none_of_the_last_ones(ready: Any) -> None:
    assert "trials" in await update(ready, checks=[CHECK])
    await ready.move("endpoint", "live", EndpointStatus="InService", config_name="next")
    await ready("DeleteTags", ResourceArn=ARN, TagKeys=["modelyard:rollout-checks"])
    assert "trials" not in await update(ready, config="config")


async def test_a_check_of_variants_is_one_for_each(ready: Any) -> None:
    variants = [
        {
            "VariantName": name,
            "ModelName": "churn",
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        for name in ("a", "b")
    ]
    await ready("CreateEndpointConfig", EndpointConfigName="two", ProductionVariants=variants)
    trials = (await update(ready, checks=[CHECK], config="two"))["trials"]
    assert [one["check"]["name"] for one in trials["checks"]] == ["slower/a", "slower/b"]


def changed(**members: Any) -> Any:
    return [{**CHECK, **members}]


@pytest.mark.parametrize(
    ("checks", "why"),
    [
        (b"no json", "malformed"),
        (b"\xff", "cannot be executed"),
        ([], "1 to 20"),
        ([CHECK, CHECK], "different"),
        (changed(Surprise=1), "Surprise"),
        (changed(Condition="about 1"), "Condition"),
        (changed(IntervalSeconds=5), "IntervalSeconds"),
        (changed(IntervalSeconds=90), "would never be measured"),
        (changed(InitialDelaySeconds=31), "would never be measured"),
        (changed(InitialDelaySeconds=-1), "InitialDelaySeconds"),
        (changed(FailureLimit=-2), "FailureLimit"),
        (changed(Expression="new / nobody"), "nobody"),
        (changed(Expression="new /"), "syntax"),
        (changed(Expression="SUM(new)"), "not a time series"),
        (changed(Metrics=[]), "Metrics"),
        (changed(Metrics=[query("new"), query("new")]), "different Ids"),
        (changed(Expression="e", Metrics=[{"Id": "e", "Expression": "1"}]), "Period"),
        (changed(Expression="new", Metrics=[query("new", config="{Blue}")]), "no placeholder"),
        (changed(Name=" "), "Name"),
    ],
)
async def test_checks_that_cannot_be_executed_are_refused(
    ready: Any, checks: Any, why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        await update(ready, checks=checks)


async def test_a_function_that_is_not_executed_is_refused_by_name(ready: Any) -> None:
    with pytest.raises(ServiceError, match="RATE"):
        await update(ready, checks=changed(Expression="RATE(new)"))


async def test_fleets_of_one_config_cannot_be_compared(ready: Any) -> None:
    with pytest.raises(ValidationError, match="told apart"):
        await update(ready, checks=[CHECK], config="config")


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (b"", "1 to 100"),
        (b'{"Body": "1"}\n' * 101, "1 to 100"),
        (b'{"Body": "1"}\n{"Body": 1, "BodyBase64": "MQ=="}', "request 2: give one of"),
        (b"{}", "request 1: give one of"),
        (b'{"BodyBase64": "?"}', "base64"),
        (b'{"Body": "1", "VariantName": "nobody"}', "no variant nobody"),
        (b'{"Body": "1", "Expect": {"Status": 42}}', "Status"),
        (b'{"Body": "1", "Expect": {"Latency": 4}}', "Latency"),
        (b"\xff\xfe", "request 1"),
    ],
)
async def test_tests_that_cannot_be_sent_are_refused(ready: Any, test: bytes, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        await update(ready, test=test)


async def test_a_model_that_is_one_of_many_cannot_be_tested(ready: Any) -> None:
    await ready.model("many", Mode="MultiModel", ModelDataUrl="s3://b/models/")
    await ready.config("shelf", model="many")
    with pytest.raises(ValidationError, match="model many is invoked by naming"):
        await update(ready, test=b'{"Body": "1"}', config="shelf")


async def test_a_document_that_is_not_there_is_named(ready: Any) -> None:
    tags = [{"Key": "modelyard:pre-traffic-test", "Value": "s3://rules/nothing"}]
    await ready("AddTags", ResourceArn=ARN, Tags=tags)
    with pytest.raises(
        ValidationError, match="s3://rules/nothing of the tag modelyard:pre-traffic-test"
    ):
        await update(ready)
    await ready("AddTags", ResourceArn=ARN, Tags=[{**tags[0], "Value": "nothing"}])
    with pytest.raises(ValidationError, match="s3://bucket/key"):
        await update(ready)


async def test_the_guide_s_documents_are_taken_as_they_stand(ready: Any) -> None:
    found = dict(re.findall(r"cat > (\S+) <<'END'\n(.*?)\nEND\n", GUIDE.read_text(), re.DOTALL))
    documents = {"checks": found["checks.json"].encode(), "test": found["test.jsonl"].encode()}
    trials = (await update(ready, **documents))["trials"]
    assert (len(trials["checks"]), len(trials["test"])) == (1, 3)
