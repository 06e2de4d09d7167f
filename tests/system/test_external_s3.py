"""One platform whose models, inputs and outputs lie in another S3: that of a second platform."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.platform import PlatformFailed, command, running_platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"


def test_models_inputs_and_outputs_lie_in_the_other_s3(
    platform: Platform, booster: Any, tmp_path: Path
) -> None:
    keys = {
        "MODELYARD_S3_ACCESS_KEY_ID": platform.credentials.access_key_id,
        "MODELYARD_S3_SECRET_ACCESS_KEY": platform.credentials.secret_access_key,
    }
    theirs = platform.client("s3")
    theirs.create_bucket(Bucket="elsewhere")
    theirs.put_object(Bucket="elsewhere", Key="model.tar.gz", Body=booster.archive.read_bytes())
    theirs.put_object(Bucket="elsewhere", Key="in/rows.csv", Body=booster.csv.read_bytes())
    home = tmp_path / "home"
    with running_platform(home, "--s3-endpoint", platform.url, environment=keys) as ours:
        sagemaker, runtime = ours.client("sagemaker"), ours.client("sagemaker-runtime")
        sagemaker.create_model(
            ModelName="m",
            ExecutionRoleArn=ROLE,
            PrimaryContainer={
                "Image": "modelyard/xgboost",
                "ModelDataUrl": "s3://elsewhere/model.tar.gz",
            },
        )
        variant = {"VariantName": "all", "ModelName": "m", "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName="m", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        sagemaker.create_endpoint(EndpointName="m", EndpointConfigName="m")
        waiter = sagemaker.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName="m", WaiterConfig={"Delay": 1, "MaxAttempts": 150})
        answer = runtime.invoke_endpoint(
            EndpointName="m", ContentType="text/csv", Body=booster.csv.read_bytes()
        )
        found = np.array(answer["Body"].read().split(), float)
        np.testing.assert_allclose(found, booster.expected, rtol=1e-5)

        source = {"S3DataType": "S3Prefix", "S3Uri": "s3://elsewhere/in/"}
        sagemaker.create_transform_job(
            TransformJobName="t",
            ModelName="m",
            TransformInput={
                "DataSource": {"S3DataSource": source},
                "ContentType": "text/csv",
                "SplitType": "Line",
            },
            TransformOutput={"S3OutputPath": "s3://elsewhere/out/", "AssembleWith": "Line"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
        waiter = sagemaker.get_waiter("transform_job_completed_or_stopped")
        waiter.wait(TransformJobName="t", WaiterConfig={"Delay": 1, "MaxAttempts": 150})
    body = theirs.get_object(Bucket="elsewhere", Key="out/rows.csv.out")["Body"].read()
    np.testing.assert_allclose(np.array(body.split(), float), booster.expected, rtol=1e-5)


def test_a_model_that_is_not_there_and_keys_that_are_not_given(
    platform: Platform, tmp_path: Path
) -> None:
    nothing = {"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent"}
    with (
        pytest.raises(PlatformFailed, match="MODELYARD_S3_ACCESS_KEY_ID"),
        running_platform(tmp_path / "no-keys", "--s3-endpoint", platform.url, environment=nothing),
    ):
        pass
    keys = {"MODELYARD_S3_ACCESS_KEY_ID": "AKIAWRONG", "MODELYARD_S3_SECRET_ACCESS_KEY": "wrong"}
    home = tmp_path / "home"
    with running_platform(home, "--s3-endpoint", platform.url, environment=keys):
        model = tmp_path / "model.json"
        model.write_text("{}")
        refused = command("deploy", str(model), "--name", "m", home=home)
    assert refused.returncode != 0
    assert "InvalidAccessKeyId" in refused.stderr
