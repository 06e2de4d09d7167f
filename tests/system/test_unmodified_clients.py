"""The main job, through clients that know nothing of Modelyard: boto3, the AWS CLI, the SageMaker SDK."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import numpy as np
import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
FAST = {"Delay": 1, "MaxAttempts": 150}


def _environment(platform: Platform) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **platform.environment()}


def test_boto3_serves_a_model_from_upload_to_delete(platform: Platform, booster: Any) -> None:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    runtime = platform.client("sagemaker-runtime")
    s3.create_bucket(Bucket="end-to-end")
    s3.put_object(Bucket="end-to-end", Key="model.tar.gz", Body=booster.archive.read_bytes())
    sagemaker.create_model(
        ModelName="diabetes",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://end-to-end/model.tar.gz"},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="diabetes",
        ProductionVariants=[
            {
                "VariantName": "blue",
                "ModelName": "diabetes",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 2,
            }
        ],
    )
    created = sagemaker.create_endpoint(EndpointName="diabetes", EndpointConfigName="diabetes")
    assert created["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/diabetes"
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="diabetes", WaiterConfig=FAST)

    rows = booster.rows.tolist()
    answer = runtime.invoke_endpoint(
        EndpointName="diabetes",
        ContentType="application/json",
        Body=json.dumps({"instances": rows}),
    )
    assert answer["InvokedProductionVariant"] == "blue"
    predictions = json.load(answer["Body"])["predictions"]
    np.testing.assert_allclose(predictions, booster.expected, rtol=1e-5)

    as_csv = runtime.invoke_endpoint(
        EndpointName="diabetes",
        ContentType="text/csv",
        Accept="text/csv",
        Body=booster.csv.read_bytes(),
    )
    np.testing.assert_allclose(
        [float(line) for line in as_csv["Body"].read().split()], booster.expected, rtol=1e-5
    )

    buffer = io.BytesIO()
    np.save(buffer, booster.rows.astype(np.float32))
    as_npy = runtime.invoke_endpoint(
        EndpointName="diabetes",
        ContentType="application/x-npy",
        Accept="application/x-npy",
        Body=buffer.getvalue(),
    )
    array = np.load(io.BytesIO(as_npy["Body"].read()))
    np.testing.assert_allclose(array, booster.expected, rtol=1e-5)

    sagemaker.delete_endpoint(EndpointName="diabetes")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="diabetes", WaiterConfig=FAST)
    with pytest.raises(ClientError, match="Endpoint diabetes of account 123456789012 not found"):
        runtime.invoke_endpoint(EndpointName="diabetes", Body=b"1")


def test_the_aws_cli_walks_the_same_way(
    platform: Platform, booster: Any, clients_folder: Path, tmp_path: Path
) -> None:
    environment = _environment(platform)

    def aws(*arguments: str) -> str:
        finished = subprocess.run(
            [str(clients_folder / "aws-cli/bin/aws"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    assert json.loads(aws("sts", "get-caller-identity"))["Account"] == "123456789012"
    aws("s3", "mb", "s3://from-the-cli")
    aws("s3", "cp", str(booster.archive), "s3://from-the-cli/model.tar.gz")
    assert "model.tar.gz" in aws("s3", "ls", "s3://from-the-cli/")
    container = f"Image={IMAGE},ModelDataUrl=s3://from-the-cli/model.tar.gz"
    aws("sagemaker", "create-model", "--model-name", "cli", "--primary-container", container,
        "--execution-role-arn", ROLE)  # fmt: skip
    variant = "VariantName=all,ModelName=cli,InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", "cli",
        "--production-variants", variant)  # fmt: skip
    aws("sagemaker", "create-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli")
    status = ""
    while status in ("", "Creating"):
        description = json.loads(aws("sagemaker", "describe-endpoint", "--endpoint-name", "cli"))
        status = description["EndpointStatus"]
    assert status == "InService", description
    answers = tmp_path / "answers"
    aws("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "cli", "--content-type", "text/csv",
        "--body", f"fileb://{booster.csv}", str(answers))  # fmt: skip
    np.testing.assert_allclose(
        np.ravel(json.loads(answers.read_text())["predictions"])
        if answers.read_text().startswith("{")
        else [float(line) for line in answers.read_text().split()],
        booster.expected,
        rtol=1e-5,
    )
    aws("sagemaker", "delete-endpoint", "--endpoint-name", "cli")
    aws("s3", "rm", "--recursive", "s3://from-the-cli/")
    aws("s3", "rb", "s3://from-the-cli")


@pytest.mark.timeout(600)
def test_the_sagemaker_sdk_runs_unmodified_under_modelyard_run(
    platform: Platform, booster: Any, clients_folder: Path, tmp_path: Path
) -> None:
    script = Path(__file__).parent / "scripts" / "sagemaker_sdk_2.py"
    python = str(clients_folder / "sagemaker-2/bin/python")
    program = [python, str(script), str(booster.archive), str(booster.csv), ROLE]
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "modelyard.cli.main",
            "run",
            "--home",
            str(platform.home.root),
            "--",
            *program,
        ],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    assert "SDK: deployed, predicted, transformed, deleted" in finished.stdout


def test_an_assumed_role_calls_with_credentials_that_no_database_holds(platform: Platform) -> None:
    credentials = platform.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="notebook")[
        "Credentials"
    ]
    session = botocore.session.Session()

    def client(service: str, token: str) -> Any:
        return session.create_client(
            service,
            endpoint_url=platform.url,
            region_name="eu-central-1",
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=token,
        )

    token = credentials["SessionToken"]
    caller = client("sts", token).get_caller_identity()
    assert caller["Arn"] == (
        "arn:aws:sts::123456789012:assumed-role/ModelyardExecutionRole/notebook"
    )
    assert client("s3", token).list_buckets()["Buckets"] is not None
    assert client("sagemaker", token).list_endpoints()["Endpoints"] == []  # another region
    tampered = token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "B" * 8)
    for service, operation in (("sts", "get_caller_identity"), ("s3", "list_buckets")):
        with pytest.raises(ClientError) as refused:
            getattr(client(service, tampered), operation)()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)


def test_state_is_kept_per_region_and_buckets_are_everywhere(platform: Platform) -> None:
    there = botocore.session.Session().create_client(
        "sagemaker",
        endpoint_url=platform.url,
        region_name="ap-south-1",
        aws_access_key_id=platform.credentials.access_key_id,
        aws_secret_access_key=platform.credentials.secret_access_key,
    )
    there.create_model(
        ModelName="only-there",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://b/k.tar.gz"},
    )
    assert there.describe_model(ModelName="only-there")["ModelArn"] == (
        "arn:aws:sagemaker:ap-south-1:123456789012:model/only-there"
    )
    with pytest.raises(ClientError, match="Could not find model"):
        platform.client("sagemaker").describe_model(ModelName="only-there")
    there.delete_model(ModelName="only-there")


def test_an_update_serves_without_a_gap(platform: Platform, booster: Any) -> None:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    runtime = platform.client("sagemaker-runtime", connect_timeout=5)
    s3.create_bucket(Bucket="no-gap")
    s3.put_object(Bucket="no-gap", Key="model.tar.gz", Body=booster.archive.read_bytes())
    for name in ("gap-1", "gap-2"):
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://no-gap/model.tar.gz"},
        )
        variant = {
            "VariantName": name,
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="gap", EndpointConfigName="gap-1")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="gap", WaiterConfig=FAST)
    sagemaker.update_endpoint(EndpointName="gap", EndpointConfigName="gap-2")
    body = booster.csv.read_bytes()
    seen: list[str] = []
    while not seen or seen[-1] != "gap-2" or len(seen) < 50:
        answer = runtime.invoke_endpoint(EndpointName="gap", ContentType="text/csv", Body=body)
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0
        seen.append(answer["InvokedProductionVariant"])
    assert seen == sorted(seen), "traffic moves once, from the old to the new"
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="gap", WaiterConfig=FAST)
    description = sagemaker.describe_endpoint(EndpointName="gap")
    assert description["EndpointConfigName"] == "gap-2"
    sagemaker.delete_endpoint(EndpointName="gap")
