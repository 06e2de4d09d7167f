"""What must not work does not, says why, and harms nothing else."""

import gzip
import io
import json
import os
import pickle
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
SETTLED_SECONDS = 120.0


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def _file(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def _special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


class Bomb:
    """Unpickling it runs a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/modelyard-was-here",)


HOSTILE = {
    "parent path": (_tar(_file("../../evil.onnx")), "model.tar.gz", "would leave the model's folder"),
    "absolute path": (_tar(_file("/etc/evil.onnx")), "model.tar.gz", "would leave the model's folder"),
    "symbolic link": (_tar(_special("model.onnx", tarfile.SYMTYPE, "/etc/passwd")), "model.tar.gz", "link"),
    "hard link": (_tar(_special("model.onnx", tarfile.LNKTYPE, "/etc/passwd")), "model.tar.gz", "link"),
    "device": (_tar(_special("model.onnx", tarfile.CHRTYPE)), "model.tar.gz", "device"),
    "pipe": (_tar(_special("model.onnx", tarfile.FIFOTYPE)), "model.tar.gz", "pipe"),
    "truncated archive": (_tar(_file("model.onnx", os.urandom(100_000)))[:50_000], "model.tar.gz", "cut off"),
    "no archive": (gzip.compress(b"hello"), "model.tar.gz", ""),
    "empty archive": (_tar(), "model.tar.gz", "empty"),
    "no model inside": (_tar(_file("readme.md")), "model.tar.gz", "readme.md"),
    "two models inside": (_tar(_file("a.onnx"), _file("b.onnx")), "model.tar.gz", "MODELYARD_MODEL_FILE"),
    "corrupt onnx": (b"\x08\x01 not onnx", "model.onnx", "onnxruntime"),
    "corrupt xgboost": (b"{", "model.json", "model.json"),
    "corrupt lightgbm": (b"tree\nnothing", "model.txt", "model.txt"),
    "corrupt skops": (b"PK\x03\x04nothing", "model.skops", "skops"),
    "pickle that runs a command": (pickle.dumps(Bomb()), "model.pkl", "system"),
}  # fmt: skip


@pytest.fixture(scope="module")
def bucket(platform: Platform) -> str:
    platform.client("s3").create_bucket(Bucket="bad-input")
    return "bad-input"


def _settle(platform: Platform, name: str) -> dict[str, Any]:
    client = platform.client("sagemaker")
    deadline = time.monotonic() + SETTLED_SECONDS
    while time.monotonic() < deadline:
        description: dict[str, Any] = client.describe_endpoint(EndpointName=name)
        if description["EndpointStatus"] not in ("Creating", "Updating"):
            return description
        time.sleep(0.02)
    raise AssertionError(f"{name} did not settle: {description}")


def _create(platform: Platform, name: str, *, uri: str, image: str = "modelyard/python") -> None:
    client = platform.client("sagemaker")
    client.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": image, "ModelDataUrl": uri},
    )
    client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "v",
                "ModelName": name,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_bad_artifact_fails_its_endpoint_with_a_reason(
    platform: Platform, bucket: str, what: str
) -> None:
    data, file_name, reason = HOSTILE[what]
    name = "bad-" + what.replace(" ", "-")
    key = f"{name}/{file_name}"
    platform.client("s3").put_object(Bucket=bucket, Key=key, Body=data)
    _create(platform, name, uri=f"s3://{bucket}/{key}")
    description = _settle(platform, name)
    assert description["EndpointStatus"] == "Failed", description
    assert reason in description["FailureReason"], description["FailureReason"]
    assert not Path("/tmp/modelyard-was-here").exists()
    with pytest.raises(ClientError, match="ValidationError"):
        platform.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"1")
    platform.client("sagemaker").delete_endpoint(EndpointName=name)


def test_a_model_that_is_not_there_fails_its_endpoint_with_its_address(
    platform: Platform, bucket: str
) -> None:
    _create(platform, "nothing-there", uri=f"s3://{bucket}/nothing.tar.gz")
    description = _settle(platform, "nothing-there")
    assert description["EndpointStatus"] == "Failed"
    assert f"s3://{bucket}/nothing.tar.gz" in description["FailureReason"]


def test_an_image_that_nobody_runs_fails_its_endpoint_with_its_name(
    platform: Platform, bucket: str
) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-own:latest"
    # Where there is a container engine it is asked for the image, and finds none either.
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("weights"))
    platform.client("s3").put_object(Bucket=bucket, Key="own.tar.gz", Body=archive.getvalue())
    _create(platform, "own-image", uri=f"s3://{bucket}/own.tar.gz", image=image)
    description = _settle(platform, "own-image")
    assert description["EndpointStatus"] == "Failed"
    assert image in description["FailureReason"]


def test_a_failed_update_leaves_the_old_model_serving(
    platform: Platform, bucket: str, booster: Any
) -> None:
    s3, client = platform.client("s3"), platform.client("sagemaker")
    runtime = platform.client("sagemaker-runtime")
    s3.put_object(Bucket=bucket, Key="good/model.tar.gz", Body=booster.archive.read_bytes())
    _create(platform, "updated", uri=f"s3://{bucket}/good/model.tar.gz")
    assert _settle(platform, "updated")["EndpointStatus"] == "InService"
    body = booster.csv.read_bytes()
    before = runtime.invoke_endpoint(EndpointName="updated", ContentType="text/csv", Body=body)[
        "Body"
    ].read()
    s3.put_object(Bucket=bucket, Key="worse/model.onnx", Body=b"not a model")
    client.create_model(
        ModelName="worse",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": "modelyard/python",
            "ModelDataUrl": f"s3://{bucket}/worse/model.onnx",
        },
    )
    variant = {
        "VariantName": "v",
        "ModelName": "worse",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    client.create_endpoint_config(EndpointConfigName="worse", ProductionVariants=[variant])
    client.update_endpoint(EndpointName="updated", EndpointConfigName="worse")
    description = _settle(platform, "updated")
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointConfigName"] == "updated"
    assert "onnxruntime" in description["FailureReason"]
    after = runtime.invoke_endpoint(EndpointName="updated", ContentType="text/csv", Body=body)[
        "Body"
    ].read()
    assert after == before


@pytest.mark.parametrize(
    ("content_type", "body", "status", "words"),
    [
        ("text/csv", b"1,2\n3", 400, "Line 2"),
        ("text/csv", b"\xff\xfe\x00", 400, "UTF-8"),
        ("application/json", b"{", 400, "JSON"),
        ("application/json", b'{"rows": []}', 400, "instances"),
        ("application/x-npy", b"not numpy", 400, "npy"),
        ("image/png", b"\x89PNG", 415, "image/png"),
        ("text/csv", b"", 400, "empty"),
        ("text/csv", b"1,2,3", 400, "10 values"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_the_callers_error(
    platform: Platform,
    bucket: str,
    booster: Any,
    content_type: str,
    body: bytes,
    status: int,
    words: str,
) -> None:
    client = platform.client("sagemaker")
    try:
        client.describe_endpoint(EndpointName="bodies")
    except ClientError:
        platform.client("s3").put_object(
            Bucket=bucket, Key="bodies/model.tar.gz", Body=booster.archive.read_bytes()
        )
        _create(platform, "bodies", uri=f"s3://{bucket}/bodies/model.tar.gz")
        assert _settle(platform, "bodies")["EndpointStatus"] == "InService"
    with pytest.raises(ClientError) as refused:
        platform.client("sagemaker-runtime").invoke_endpoint(
            EndpointName="bodies", ContentType=content_type, Body=body
        )
    response = refused.value.response
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert words in response["OriginalMessage"], response["OriginalMessage"]


def test_every_fault_of_a_request_is_told_at_once(platform: Platform) -> None:
    client = platform.client("sagemaker")
    with pytest.raises(ClientError) as refused:
        client.create_model(ModelName="not_allowed_", ExecutionRoleArn="nonsense" * 4)
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].startswith("2 validation errors detected: ")
    assert "'modelName' failed to satisfy constraint" in error["Message"]
    assert "'executionRoleArn' failed to satisfy constraint" in error["Message"]


def test_wrong_keys_and_changed_requests_are_refused_with_awss_codes(platform: Platform) -> None:
    session = botocore.session.Session()

    def client(service: str, *, key: str, secret: str) -> Any:
        return session.create_client(
            service,
            endpoint_url=platform.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    good = platform.credentials
    cases = [
        ("sagemaker", "list_models", "UnrecognizedClientException", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
    ]
    for service, operation, unknown, wrong in cases:
        with pytest.raises(ClientError) as refused:
            getattr(client(service, key="AKIAAAAAAAAAAAAAAAAA", secret="x" * 40), operation)()
        assert refused.value.response["Error"]["Code"] == unknown
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        with pytest.raises(ClientError) as refused:
            getattr(client(service, key=good.access_key_id, secret="x" * 40), operation)()
        assert refused.value.response["Error"]["Code"] == wrong
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        client("sagemaker-runtime", key=good.access_key_id, secret="x" * 40).invoke_endpoint(
            EndpointName="x", Body=b"1"
        )


def test_a_deleted_key_is_refused_at_once(platform: Platform) -> None:
    iam = platform.client("iam")
    iam.create_user(UserName="shortly")
    key = iam.create_access_key(UserName="shortly")["AccessKey"]
    sts = botocore.session.Session().create_client(
        "sts",
        endpoint_url=platform.url,
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/shortly"
    iam.delete_access_key(UserName="shortly", AccessKeyId=key["AccessKeyId"])
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        sts.get_caller_identity()
    iam.delete_user(UserName="shortly")


def test_an_operation_that_is_not_executed_is_refused_by_name(platform: Platform) -> None:
    with pytest.raises(ClientError) as refused:
        platform.client("sagemaker").list_domains()
    assert refused.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert json.dumps(refused.value.response["Error"]["Message"]).find("ListDomains") > 0
