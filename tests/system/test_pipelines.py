"""Several containers behind one endpoint: one after the other, and each on its own."""

import datetime
import io
import json
import time
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
ENDPOINTS = ("series", "scored", "direct")


def arithmetic(operator: str, value: float) -> bytes:
    """An ONNX model of one column that adds or multiplies."""
    from onnx import TensorProto, helper, numpy_helper

    constant = numpy_helper.from_array(np.array([value], np.float32), "value")
    node = helper.make_node(operator, ["x", "value"], ["y"])
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1])] for name in ("x", "y")
    ]
    graph = helper.make_graph([node], "arithmetic", *ends, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def served(platform: Platform, booster: Any) -> Any:
    """Endpoints ``series`` ((x + 0.1) * 3), ``scored`` (the same of a booster's scores) and ``direct`` (each by its name)."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="pipelines")
    containers = []
    for name, operator, value in (("add", "Add", 0.1), ("times", "Mul", 3.0)):
        s3.put_object(Bucket="pipelines", Key=f"{name}.onnx", Body=arithmetic(operator, value))
        url = f"s3://pipelines/{name}.onnx"
        containers.append(
            {"Image": "modelyard/python", "ModelDataUrl": url, "ContainerHostname": name}
        )
    s3.put_object(Bucket="pipelines", Key="score.tar.gz", Body=booster.archive.read_bytes())
    url = "s3://pipelines/score.tar.gz"
    score = {"Image": "modelyard/xgboost", "ModelDataUrl": url, "ContainerHostname": "score"}
    for name, first, mode in (
        ("series", [], "Serial"),
        ("scored", [score], "Serial"),
        ("direct", [score], "Direct"),
    ):
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            Containers=first + containers,
            InferenceExecutionConfig={"Mode": mode},
        )
        variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    for name in ENDPOINTS:
        waiter = sagemaker.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 150})
    yield platform.client("sagemaker-runtime")
    for name in ENDPOINTS:
        sagemaker.delete_endpoint(EndpointName=name)


def npy(values: list[float]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(values, np.float32)[:, None])
    return buffer.getvalue()


EXPECTED = (np.array([1.3, 2.7], np.float32) + np.float32(0.1)) * np.float32(3)


def test_the_answer_of_one_container_is_the_input_of_the_next(served: Any) -> None:
    as_json = served.invoke_endpoint(
        EndpointName="series",
        ContentType="application/json",
        Body=json.dumps({"instances": [[1.3], [2.7]]}),
    )
    assert as_json["ContentType"] == "application/json"
    found = json.load(as_json["Body"])["predictions"]
    assert np.array(found, np.float32).ravel().tolist() == EXPECTED.tolist()

    as_csv = served.invoke_endpoint(
        EndpointName="series", ContentType="text/csv", Body="1.3\n2.7\n"
    )
    assert as_csv["ContentType"] == "text/csv"
    lines = as_csv["Body"].read().split()
    assert np.array(lines, np.float32).tolist() == EXPECTED.tolist()

    as_npy = served.invoke_endpoint(
        EndpointName="series",
        ContentType="application/x-npy",
        Accept="application/json",
        Body=npy([1.3, 2.7]),
    )
    assert json.load(as_npy["Body"])["predictions"] == found


def test_arrays_between_containers_answer_as_text_between_them_does(
    served: Any, booster: Any
) -> None:
    body = booster.csv.read_bytes()
    answer = served.invoke_endpoint(EndpointName="scored", ContentType="text/csv", Body=body)
    for container in ("score", "add", "times"):
        body = served.invoke_endpoint(
            EndpointName="direct",
            TargetContainerHostname=container,
            ContentType="text/csv",
            Body=body,
        )["Body"].read()
    assert answer["ContentType"] == "text/csv"
    assert answer["Body"].read() == body


def test_the_container_that_fails_is_named(served: Any) -> None:
    with pytest.raises(ClientError) as caught:
        served.invoke_endpoint(EndpointName="series", ContentType="text/csv", Body="a,b\n")
    assert caught.value.response["Error"]["Code"] == "ModelError"
    assert "from add with message" in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize(("container", "expected"), [("add", 2.1), ("times", 6.0)])
def test_a_container_is_invoked_on_its_own(served: Any, container: str, expected: float) -> None:
    answer = served.invoke_endpoint(
        EndpointName="direct",
        TargetContainerHostname=container,
        ContentType="text/csv",
        Body="2.0\n",
    )
    assert float(answer["Body"].read()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"EndpointName": "direct"}, "name one of them by TargetContainerHostname"),
        (
            {"EndpointName": "direct", "TargetContainerHostname": "minus"},
            "Container minus was not found in variant all: it has score, add, times",
        ),
        ({"EndpointName": "series", "TargetContainerHostname": "add"}, "series is not one"),
    ],
)
def test_a_container_that_cannot_be_invoked_so(
    served: Any, members: dict[str, str], message: str
) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        served.invoke_endpoint(**members, ContentType="text/csv", Body="2.0\n")
    assert caught.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize("name", ["series", "direct"])
def test_what_each_container_takes_is_a_metric(platform: Platform, served: Any, name: str) -> None:
    containers = ("add", "times")
    begun = datetime.datetime.now(datetime.UTC)
    for container in containers:
        direct = {"TargetContainerHostname": container} if name == "direct" else {}
        served.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body="2.0\n", **direct)

    def points(container: str) -> list[dict[str, Any]]:
        dimensions = {"EndpointName": name, "VariantName": "all", "ContainerName": container}
        found = platform.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="ContainerLatency",
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=begun - datetime.timedelta(minutes=1),
            EndTime=begun + datetime.timedelta(minutes=2),
            Period=60,
            Statistics=["Sum", "SampleCount"],
        )
        return list(found["Datapoints"])

    asked = 2 if name == "series" else 1
    end = time.monotonic() + 90
    while any(sum(one["SampleCount"] for one in points(each)) < asked for each in containers):
        assert time.monotonic() < end, [points(each) for each in containers]
        time.sleep(0.25)
    for container in containers:
        for point in points(container):
            assert point["Unit"] == "Microseconds"
            assert 0 < point["Sum"] < 60e6


def test_each_container_has_a_log_of_its_own(platform: Platform, served: Any) -> None:
    logs = platform.client("logs")
    group = "/aws/sagemaker/Endpoints/series"
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert {one["logStreamName"].rpartition("/")[2] for one in streams} == {"add", "times"}


def test_a_pipeline_scores_files(platform: Platform, served: Any) -> None:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.put_object(Bucket="pipelines", Key="in/rows.csv", Body=b"1.3\n2.7\n")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://pipelines/in/"}
    sagemaker.create_transform_job(
        TransformJobName="pipeline",
        ModelName="series",
        TransformInput={
            "DataSource": {"S3DataSource": source},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": "s3://pipelines/out/", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    waiter = sagemaker.get_waiter("transform_job_completed_or_stopped")
    waiter.wait(TransformJobName="pipeline", WaiterConfig={"Delay": 1, "MaxAttempts": 150})
    body = s3.get_object(Bucket="pipelines", Key="out/rows.csv.out")["Body"].read()
    assert np.array(body.split(), np.float32).tolist() == EXPECTED.tolist()
