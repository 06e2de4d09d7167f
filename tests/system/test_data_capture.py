"""What an endpoint was asked and answered, in S3, as SageMaker keeps it."""

import json
import time
from typing import Any

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"


def test_invocations_are_captured_with_both_sides(platform: Platform, booster: Any) -> None:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    runtime = platform.client("sagemaker-runtime")
    s3.create_bucket(Bucket="captured")
    s3.put_object(Bucket="captured", Key="model.tar.gz", Body=booster.archive.read_bytes())
    sagemaker.create_model(
        ModelName="captured",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": "modelyard/xgboost",
            "ModelDataUrl": "s3://captured/model.tar.gz",
        },
    )
    variant = {"VariantName": "all", "ModelName": "captured", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="captured",
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://captured/seen",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )
    sagemaker.create_endpoint(EndpointName="captured", EndpointConfigName="captured")
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="captured", WaiterConfig={"Delay": 1, "MaxAttempts": 150})
    summary = sagemaker.describe_endpoint(EndpointName="captured")["DataCaptureConfig"]
    assert (summary["CaptureStatus"], summary["CurrentSamplingPercentage"]) == ("Started", 100)
    body = booster.csv.read_text().splitlines()[0]
    answer = runtime.invoke_endpoint(
        EndpointName="captured", ContentType="text/csv", Body=body, InferenceId="order-7"
    )
    said = answer["Body"].read().decode()
    end = time.monotonic() + 60
    while not (listed := s3.list_objects_v2(Bucket="captured", Prefix="seen/").get("Contents")):
        assert time.monotonic() < end
        time.sleep(0.2)
    (stored,) = listed
    assert stored["Key"].startswith("seen/captured/all/20")
    line = json.loads(s3.get_object(Bucket="captured", Key=stored["Key"])["Body"].read())
    assert line["captureData"]["endpointInput"]["data"] == body
    assert line["captureData"]["endpointOutput"]["data"] == said
    assert line["eventMetadata"]["inferenceId"] == "order-7"
    sagemaker.delete_endpoint(EndpointName="captured")
