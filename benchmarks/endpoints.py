"""``python -m benchmarks endpoints``: many serverless endpoints on one machine, asleep and woken.

Creates them, lets all fall asleep, and measures what they cost then; wakes some one by one; then asks each of them once,
four callers at a time, and checks every answer.
"""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.progress import Progress

from benchmarks.models import Case
from modelyard.cli.platform import Platform
from modelyard.control.routes import last_published
from modelyard.server import supervisor
from modelyard.testing import losses
from modelyard.testing.platform import running_platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
HIBERNATE_SECONDS = 15
WOKEN_ONE_BY_ONE = 100
CALLERS = 4
WAIT_SECONDS = 900.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Seconds, and MiB of proportional set size."""

    endpoints: int
    created_seconds: float
    """Until the last of them is InService."""
    listed_seconds: float
    """All pages of ListEndpoints."""
    memory_before: float
    memory_asleep: float
    woken: list[float]
    """First answers of endpoints asleep, sorted."""
    awake: list[float]
    """Their second answers, sorted."""
    round_seconds: float
    """Each endpoint asked once."""

    @property
    def kib_each(self) -> float:
        """What an endpoint that sleeps adds to all processes together."""
        return (self.memory_asleep - self.memory_before) * 1024 / self.endpoints


def measure(case: Case, count: int, progress: Progress) -> Figures:
    """Raises ``WrongAnswer``, and what boto3 raises where a request is refused."""
    task = progress.add_task("creating", total=count)
    limit = f"hibernate_seconds={HIBERNATE_SECONDS}"
    with (
        tempfile.TemporaryDirectory(prefix="endpoints-") as folder,
        running_platform(Path(folder) / "home", "--limit", limit) as platform,
    ):
        before = _memory(platform)
        began = time.monotonic()
        names = [f"e{number}" for number in range(count)]
        for name in _created(platform, case, names):
            progress.update(task, description=f"creating {name}", advance=1)
        _wait_for(platform, names)
        created = time.monotonic() - began
        began = time.monotonic()
        assert sum(_statuses(platform).values()) == count
        listed = time.monotonic() - began
        progress.update(task, description="all fall asleep")
        _until(lambda: _asleep(platform) == count and not losses.workers(platform))
        asleep = _memory(platform)
        runtime = platform.client("sagemaker-runtime")
        first, second = [], []
        for name in names[:: max(1, count // WOKEN_ONE_BY_ONE)]:
            progress.update(task, description=f"waking {name}")
            first.append(_ask(runtime, name, case))
            second.append(_ask(runtime, name, case))
        progress.update(task, description="asking each", completed=0)
        began = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as pool:
            for _ in pool.map(lambda name: _ask(runtime, name, case), names):
                progress.advance(task)
        return Figures(
            endpoints=count,
            created_seconds=created,
            listed_seconds=listed,
            memory_before=before,
            memory_asleep=asleep,
            woken=sorted(first),
            awake=sorted(second),
            round_seconds=time.monotonic() - began,
        )


def _created(platform: Platform, case: Case, names: list[str]) -> Iterator[str]:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="many")
    s3.put_object(Bucket="many", Key="model.onnx", Body=case.path.read_bytes())
    container = {"Image": "modelyard/onnx", "ModelDataUrl": "s3://many/model.onnx"}
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": CALLERS}
    variant = {"VariantName": "v", "ModelName": "m", "ServerlessConfig": serverless}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    for name in names:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="c")
        yield name


def _ask(runtime: Any, name: str, case: Case) -> float:
    began = time.monotonic()
    answer = runtime.invoke_endpoint(
        EndpointName=name, ContentType="application/json", Body=case.body
    )
    case.check(answer["Body"].read())
    return time.monotonic() - began


def _statuses(platform: Platform) -> dict[str, int]:
    found: dict[str, int] = {}
    pages = platform.client("sagemaker").get_paginator("list_endpoints").paginate(MaxResults=100)
    for page in pages:
        for endpoint in page["Endpoints"]:
            status = endpoint["EndpointStatus"]
            found[status] = found.get(status, 0) + 1
    return found


def _wait_for(platform: Platform, names: list[str]) -> None:
    """Asks of one after the other: to list a thousand again and again would be measured, too."""
    sagemaker = platform.client("sagemaker")
    for name in names:
        _until(lambda name=name: _status(sagemaker, name) == "InService")


def _status(sagemaker: Any, name: str) -> str:
    return str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])


def _asleep(platform: Platform) -> int:
    table = last_published(platform.home.run)
    return sum(not endpoint.variants[0].replicas for endpoint in table.endpoints)


def _memory(platform: Platform) -> float:
    """Of the supervisor and all that it started, in MiB."""
    pid = supervisor.running_pid(platform.home)
    if pid is None:
        raise SystemExit("The platform has ended.")
    process = psutil.Process(pid)
    every = [process, *process.children(recursive=True)]
    return float(sum(one.memory_full_info().pss for one in every)) / (1 << 20)


def _until(condition: Any) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("The endpoints did not come to rest in time.")
        time.sleep(POLL_SECONDS)
