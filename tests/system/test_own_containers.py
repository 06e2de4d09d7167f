"""A local program as an image, through real boto3: AWS's container contract on one side, InvokeEndpoint on the other."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command, running_platform

SETTLED_SECONDS = 120.0
INVOCATION_SECONDS = 6
ANSWER_BYTES = 3_000_000
PROGRAM = Path(__file__).parent / "programs"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
TREES = PROGRAM / "trees"
FLASK = Path(__file__).parents[2] / ".cache" / "venvs" / "sagemaker-3"
"""An environment that has flask and gunicorn, as this SDK needs them too."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    bounds = ("invocation_seconds", INVOCATION_SECONDS), ("payload_bytes", ANSWER_BYTES)
    options = [word for name, value in bounds for word in ("--limit", f"{name}={value}")]
    with running_platform(tmp_path_factory.mktemp("images") / "home", *options) as platform:
        if json.loads((platform.home.run / "protections.json").read_text())["isolation"]:
            pytest.skip("this machine does not allow isolation")
        yield platform


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    (folder / "files").mkdir()
    (folder / "files" / "factor.txt").write_text("3")
    return shutil.make_archive(str(folder / "model"), "gztar", folder / "files")


@pytest.fixture(scope="module")
def deploy(platform: Platform, model: str) -> Callable[..., Any]:
    home = platform.home.root
    added = command("image", "add", "triple", "--dir", str(PROGRAM), home=home)
    assert added.returncode == 0, added.stderr
    uploaded = f"s3://modelyard-tests/{Path(model).name}"
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="modelyard-tests")
    s3.put_object(Bucket="modelyard-tests", Key=Path(model).name, Body=Path(model).read_bytes())
    sagemaker = platform.client("sagemaker")

    def deploy(name: str, *, variant: dict[str, Any] | None = None, **changes: Any) -> Any:
        environment = changes.pop("environment", {})
        image = f"{REGISTRY}/{changes.pop('image', 'triple:v7')}"
        container = {"Image": image, "ModelDataUrl": uploaded, "Environment": environment}
        sagemaker.create_model(
            ModelName=name,
            PrimaryContainer=container,
            ExecutionRoleArn="arn:aws:iam::123456789012:role/R",
            **changes,
        )
        production = {
            "VariantName": "v",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            **(variant or {}),
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[production])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        deadline = time.monotonic() + SETTLED_SECONDS
        while (said := sagemaker.describe_endpoint(EndpointName=name))[
            "EndpointStatus"
        ] == "Creating":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return said

    return deploy


@pytest.fixture(scope="module")
def ask(platform: Platform, deploy: Any) -> Callable[..., Any]:
    assert deploy("triple", variant={"InitialInstanceCount": 2})["EndpointStatus"] == "InService"
    runtime = platform.client("sagemaker-runtime", read_timeout=60, max_pool_connections=32)

    def ask(body: str, *, endpoint: str = "triple", **changes: Any) -> Any:
        return runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **changes)

    return ask


def said(answer: Any) -> bytes:
    data: bytes = answer["Body"].read()
    return data


def refusal(ask: Any, body: str, **changes: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as refused:
        ask(body, **changes)
    response: dict[str, Any] = refused.value.response
    assert response["Error"]["Code"] == "ModelError"
    return response


def test_two_replicas_of_several_processes_answer_at_once(ask: Any) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: said(ask(str(number))), range(100)))
    assert answers == [str(number * 3.0).encode() for number in range(100)]


def test_the_types_and_attributes_go_both_ways_and_nothing_else_does(ask: Any) -> None:
    answer = ask("headers", ContentType="text/x-one", Accept="text/x-two", CustomAttributes="a=b")
    assert said(answer) == b"text/x-one|text/x-two|a=b|-|-"
    assert answer["ContentType"] == "text/plain"
    assert answer["CustomAttributes"] == "answered"


@pytest.mark.parametrize("status", [400, 404, 408, 415, 429, 500, 503])
def test_a_status_of_the_program_is_a_model_error_of_that_status(ask: Any, status: int) -> None:
    response = refusal(ask, f"status {status}")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == f"refused with {status}"


def test_chunked_and_unmeasured_answers_arrive_whole(ask: Any) -> None:
    expected = b"".join(str(number % 10).encode() * 1000 for number in range(1500))
    assert said(ask("chunks 1500")) == expected
    assert said(ask("until_closed 2000000")) == b"z" * 2_000_000


def test_an_answer_over_the_limit_is_refused_and_the_next_one_is_right(ask: Any) -> None:
    response = refusal(ask, f"large {ANSWER_BYTES + 1}")
    assert f"more than {ANSWER_BYTES} bytes" in response["OriginalMessage"]
    assert len(said(ask(f"large {ANSWER_BYTES}"))) == ANSWER_BYTES
    assert said(ask("2")) == b"6.0"


def test_a_slow_answer_times_out_and_others_do_not_wait_for_it(ask: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        slow = pool.submit(refusal, ask, "slow 30")
        assert said(ask("slow 0.1")) == b"at last"
        assert slow.result()["OriginalStatusCode"] == 0


def test_what_is_no_answer_is_an_error_with_words(ask: Any) -> None:
    assert "not HTTP" in refusal(ask, "nonsense")["OriginalMessage"]
    assert "closed the connection" in refusal(ask, "silence")["OriginalMessage"]
    assert said(ask("2")) == b"6.0"


def test_the_program_is_told_its_port_and_the_models_environment(deploy: Any, ask: Any) -> None:
    assert deploy("told", environment={"COLOUR": "blue"})["EndpointStatus"] == "InService"
    assert said(ask("environment COLOUR", endpoint="told")) == b"blue"
    assert said(ask("environment SAGEMAKER_BIND_TO_PORT", endpoint="told")) == b"8080"
    low, _, high = said(ask("environment SAGEMAKER_SAFE_PORT_RANGE", endpoint="told")).partition(
        b"-"
    )
    assert int(low) < int(high)


def test_a_program_that_dies_is_started_again_and_only_its_request_fails(
    platform: Platform, deploy: Any, ask: Any
) -> None:
    assert deploy("dies")["EndpointStatus"] == "InService"
    assert "worker died" in refusal(ask, "die", endpoint="dies")["OriginalMessage"]
    assert said(ask("2", endpoint="dies")) == b"6.0"
    log = command("logs", "dies", home=platform.home.root).stdout
    assert "a last word" in log
    assert "the program was killed by SIGKILL" in log


def test_a_program_that_exits_fails_its_health_check_with_its_last_words(deploy: Any) -> None:
    described = deploy("exits", environment={"REFUSE": "yes"})
    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "the model is not what I expect" in described["FailureReason"]
    assert "exited with status 1" in described["FailureReason"]


def test_a_program_whose_first_pings_hang_or_fail_is_waited_for(deploy: Any, ask: Any) -> None:
    described = deploy("late", environment={"PINGS": "late"})
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")
    assert said(ask("2", endpoint="late")) == b"6.0"


def test_network_isolation_leaves_the_program_its_loopback_only(deploy: Any, ask: Any) -> None:
    assert deploy("alone", EnableNetworkIsolation=True)["EndpointStatus"] == "InService"
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        assert said(ask(f"reach {port}", endpoint="alone")) != b"0"
    assert said(ask("reach 8080", endpoint="alone")) == b"0"


def test_programs_that_share_the_machines_network_get_different_ports(
    platform: Platform, deploy: Any, ask: Any
) -> None:
    home = platform.home.root
    options = ("--dir", str(PROGRAM), "--network", "shared")
    assert command("image", "add", "triple", *options, home=home).returncode == 0
    try:
        described = deploy("shared", variant={"InitialInstanceCount": 3})
        assert described["EndpointStatus"] == "InService", described.get("FailureReason")
        asked = [
            said(ask("environment SAGEMAKER_BIND_TO_PORT", endpoint="shared")) for _ in range(12)
        ]
        assert len(set(asked)) == 3
    finally:
        command("image", "add", "triple", "--dir", str(PROGRAM), home=home)


class Jobs:
    """Batch jobs of the program; inputs and outputs by their names below the job's."""

    def __init__(self, platform: Platform) -> None:
        self.s3, self.sagemaker = platform.client("s3"), platform.client("sagemaker")
        self.logs = platform.client("logs")

    def create(self, name: str, inputs: dict[str, bytes], **changes: Any) -> None:
        for key, body in inputs.items():
            self.s3.put_object(Bucket="modelyard-tests", Key=f"{name}/in/{key}", Body=body)
        data = {"S3DataType": "S3Prefix", "S3Uri": f"s3://modelyard-tests/{name}/in/"}
        self.sagemaker.create_transform_job(
            **{
                "TransformJobName": name,
                "ModelName": "triple",
                "TransformInput": {
                    "DataSource": {"S3DataSource": data},
                    "ContentType": "text/csv",
                    "SplitType": changes.pop("split", "None"),
                },
                "TransformOutput": {"S3OutputPath": f"s3://modelyard-tests/{name}/out"},
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
                **changes,
            }
        )

    def ended(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            shown: dict[str, Any] = self.sagemaker.describe_transform_job(TransformJobName=name)
            if shown["TransformJobStatus"] not in ("InProgress", "Stopping"):
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)

    def outputs(self, name: str) -> dict[str, bytes]:
        prefix = f"{name}/out/"
        listed = self.s3.list_objects_v2(Bucket="modelyard-tests", Prefix=prefix)
        return {
            one["Key"].removeprefix(prefix): said(
                self.s3.get_object(Bucket="modelyard-tests", Key=one["Key"])
            )
            for one in listed.get("Contents", [])
        }

    def data_log(self, name: str) -> list[str]:
        found = self.logs.filter_log_events(
            logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=f"{name}/"
        )
        return [
            one["message"] for one in found["events"] if one["logStreamName"].endswith("/data-log")
        ]


@pytest.fixture(scope="module")
def jobs(platform: Platform, ask: Any) -> Jobs:
    return Jobs(platform)


def test_a_container_is_told_of_its_job_and_says_how_it_wants_to_be_asked(jobs: Jobs) -> None:
    names = ("BATCH", "BATCH_STRATEGY", "MAX_PAYLOAD_IN_MB", "MAX_CONCURRENT_TRANSFORMS")
    inputs = {name: f"environment SAGEMAKER_{name}".encode() for name in names}
    jobs.create("told", inputs, BatchStrategy="MultiRecord", MaxPayloadInMB=3)
    jobs.create("asked", {"a": b"1\n2\n3\n"}, split="Line")
    assert jobs.ended("told")["TransformJobStatus"] == "Completed"
    assert jobs.outputs("told") == {
        "BATCH.out": b"true",
        "BATCH_STRATEGY.out": b"MULTI_RECORD",
        "MAX_PAYLOAD_IN_MB.out": b"3",
        "MAX_CONCURRENT_TRANSFORMS.out": b"",
    }
    assert jobs.ended("asked")["TransformJobStatus"] == "Completed"
    assert jobs.outputs("asked") == {"a.out": b"3.06.09.0"}
    own = "MaxConcurrentTransforms=2, MaxPayloadInMB=1, BatchStrategy=SingleRecord"
    assert own in jobs.data_log("asked")[0]
    mixed = "MaxConcurrentTransforms=2, MaxPayloadInMB=3, BatchStrategy=MultiRecord"
    assert mixed in jobs.data_log("told")[0], "a request goes before what the container says"


def test_a_container_that_dies_within_an_object_is_started_again_and_costs_that_object_only(
    jobs: Jobs,
) -> None:
    inputs = {"a": b"1", "b": b"die", "c": b"2"}
    jobs.create("dying", inputs, ModelClientConfig={"InvocationsMaxRetries": 1})
    shown = jobs.ended("dying")
    assert shown["TransformJobStatus"] == "Failed"
    assert "1 of 3 objects" in shown["FailureReason"]
    assert "dying/in/b: the model's worker died" in shown["FailureReason"]
    assert jobs.outputs("dying") == {"a.out": b"3.0", "c.out": b"6.0"}


def test_a_job_that_is_stopped_while_it_writes_leaves_whole_objects_only(jobs: Jobs) -> None:
    jobs.create("stopped", {f"{number:02}": b"slow 0.2" for number in range(60)})
    deadline = time.monotonic() + SETTLED_SECONDS
    while not jobs.outputs("stopped"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    jobs.sagemaker.stop_transform_job(TransformJobName="stopped")
    shown = jobs.sagemaker.describe_transform_job(TransformJobName="stopped")
    assert shown["TransformJobStatus"] in ("Stopping", "Stopped")
    assert jobs.ended("stopped")["TransformJobStatus"] == "Stopped"
    written = jobs.outputs("stopped")
    assert 0 < len(written) < 60
    assert set(written.values()) == {b"at last"}
    uploads = jobs.s3.list_multipart_uploads(Bucket="modelyard-tests")
    assert "Uploads" not in uploads


@pytest.fixture(scope="module")
def trees(platform: Platform, deploy: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An endpoint of nginx, gunicorn and flask: the project as it is, with what its Dockerfile would install in ``.venv``."""
    if not FLASK.exists() or shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("nginx or flask is not installed: apt-get install nginx-light; make clients")
    folder = tmp_path_factory.mktemp("trees") / "decision_trees"
    shutil.copytree(TREES, folder)
    (folder / ".venv").symlink_to(FLASK.resolve())
    options = ("--dir", str(folder), "--read", str(FLASK.resolve()))
    added = command("image", "add", "decision-trees", *options, home=platform.home.root)
    assert added.returncode == 0, added.stderr
    described = deploy("trees", image="decision-trees", environment={"MODEL_SERVER_WORKERS": "2"})
    assert described["EndpointStatus"] == "InService", described["FailureReason"]
    return "trees"


def test_nginx_gunicorn_and_flask_serve_as_in_awss_example(
    platform: Platform, trees: str, ask: Any
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda number: said(ask(f"{number}\n2", endpoint=trees, ContentType="text/csv")),
                range(40),
            )
        )
    assert answers == [f"{number * 3.0}\n6.0\n".encode() for number in range(40)]
    response = refusal(ask, "1", endpoint=trees, ContentType="text/plain")
    assert response["OriginalStatusCode"] == 415
    assert response["OriginalMessage"] == "This predictor only supports CSV data"
    deadline = time.monotonic() + SETTLED_SECONDS
    while '"POST /invocations HTTP/1.1" 200' not in (
        log := command("logs", trees, home=platform.home.root).stdout
    ):
        assert time.monotonic() < deadline, "nginx writes to /dev/stdout:\n" + log
        time.sleep(0.2)
    assert "Starting the inference server with 2 workers." in log


def test_nginx_gunicorn_and_flask_score_a_batch_and_end_with_their_endpoint(
    platform: Platform, trees: str, jobs: Jobs
) -> None:
    jobs.create(trees, {"a.csv": b"1\n2\n3\n"}, ModelName=trees, split="Line")
    assert jobs.ended(trees)["TransformJobStatus"] == "Completed"
    assert jobs.outputs(trees) == {"a.csv.out": b"3.0\n6.0\n9.0\n"}
    defaults = "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MultiRecord"
    assert defaults in jobs.data_log(trees)[0], "it has no /execution-parameters"
    sagemaker = platform.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=trees)
    waiter = sagemaker.get_waiter("endpoint_deleted")
    waiter.wait(EndpointName=trees, WaiterConfig={"Delay": 1, "MaxAttempts": 150})


def test_images_are_listed_replaced_and_removed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "program").mkdir()
    refused = command("image", "add", "mine", "--dir", str(tmp_path / "program"), home=home)
    assert "holds no program `serve`" in refused.stderr
    assert "built-in image" in command("image", "add", "sagemaker-xgboost", home=home).stderr
    added = command("image", "add", "mine", "--command", "python3 -m http.server", home=home)
    assert added.returncode == 0, added.stderr
    listed = json.loads(command("image", "list", "--json", home=home).stdout)
    assert [one["name"] for one in listed] == ["mine"]
    assert command("image", "remove", "mine", home=home).returncode == 0
    assert command("image", "remove", "mine", home=home).returncode == 1
