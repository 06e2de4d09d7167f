"""``python -m benchmarks start``: how long until an endpoint is in service, and until one more replica takes requests."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from benchmarks.models import Case
from modelyard.cli.platform import Platform
from modelyard.control.routes import last_published
from modelyard.testing.platform import running_platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.002


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Seconds, sorted."""

    in_service: list[float]
    """From the call of CreateEndpoint to the moment at which DescribeEndpoint says InService."""
    first_answer: list[float]
    """From the same call to the first answer."""
    further_replica: list[float]
    """From UpdateEndpointWeightsAndCapacities to a replica more in the routing table, and an answer after that."""


def measure(case: Case, rounds: int, progress: Progress) -> Figures:
    """Raises ``WrongAnswer``, and what boto3 raises where a request is refused."""
    task = progress.add_task("starting", total=rounds)
    in_service, first, further = [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="start-") as folder,
        running_platform(Path(folder) / "home") as platform,
    ):
        _prepare(platform, case)
        sagemaker = platform.client("sagemaker")
        for number in range(rounds):
            name = f"e{number}"
            began = time.monotonic()
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="c")
            _until(lambda name=name: _status(platform, name) == "InService")
            in_service.append(time.monotonic() - began)
            _ask(platform, name, case)
            first.append(time.monotonic() - began)
            further.append(_one_more(platform, name, case))
            sagemaker.delete_endpoint(EndpointName=name)
            _until(lambda: not last_published(platform.home.run).endpoints)
            progress.advance(task)
    return Figures(
        in_service=sorted(in_service), first_answer=sorted(first), further_replica=sorted(further)
    )


def _one_more(platform: Platform, name: str, case: Case) -> float:
    wanted = [{"VariantName": "v", "DesiredInstanceCount": 2}]
    began = time.monotonic()
    platform.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=wanted
    )
    _until(lambda: _replicas(platform) == 2)
    _ask(platform, name, case)
    seconds = time.monotonic() - began
    _until(lambda: _status(platform, name) == "InService")
    return seconds


def _prepare(platform: Platform, case: Case) -> None:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="start")
    s3.put_object(Bucket="start", Key="model.onnx", Body=case.path.read_bytes())
    container = {"Image": "modelyard/onnx", "ModelDataUrl": "s3://start/model.onnx"}
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )


def _status(platform: Platform, name: str) -> str:
    found: str = platform.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
    return found


def _replicas(platform: Platform) -> int:
    table = last_published(platform.home.run)
    return sum(len(one.replicas) for endpoint in table.endpoints for one in endpoint.variants)


def _ask(platform: Platform, name: str, case: Case) -> None:
    answer = platform.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, ContentType="application/json", Body=case.body
    )
    case.check(answer["Body"].read())


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("It did not come to pass in a minute.")
        time.sleep(POLL_SECONDS)
