"""``kill -9`` of every process while requests are under way: each gets its own answer or a plain error, and all comes back."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.losses import wait_for
from modelyard.testing.models import doubling_model
from modelyard.testing.platform import command, running_platform

CALLERS = 6


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("killed")
    with running_platform(folder / "home") as platform:
        deployed = command(
            "deploy", str(doubling_model(folder / "double.onnx")), "--name", "double", "--count", "2",
            home=platform.home.root,
        )  # fmt: skip
        assert deployed.returncode == 0, deployed.stderr
        yield platform


class Load:
    """Callers that ask with numbers of their own and check the answers."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stop = threading.Event()
        self.answered = 0
        self.refused: list[str] = []
        self.wrong: list[tuple[int, Any]] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, caller: int) -> None:
        client = self._platform.client("sagemaker-runtime")
        number = caller
        while not self._stop.is_set():
            number += CALLERS
            try:
                answer = client.invoke_endpoint(
                    EndpointName="double", ContentType="text/csv", Body=str(number)
                )
                value = float(answer["Body"].read())
            except (ClientError, BotoCoreError) as error:
                with self._lock:
                    self.refused.append(str(error))
                continue
            with self._lock:
                self.answered += 1
                if value != 2.0 * number:
                    self.wrong.append((number, value))


def _processes(platform: Platform) -> dict[str, int]:
    table: dict[str, int] = json.loads(platform.home.process_table.read_text())
    return table


def _workers(platform: Platform) -> list[int]:
    """Process ids of the endpoint's workers that are ready."""
    status = json.loads(command("status", "--json", home=platform.home.root).stdout or "{}")
    return [
        row["pid"]
        for row in status.get("processes", [])
        if row["name"].startswith("worker") and row["state"] == "ready"
    ]


@pytest.mark.parametrize("victim", ["gateway-0", "control", "objects", "host", "worker"])
def test_a_killed_process_comes_back_and_no_answer_is_crossed_or_wrong(
    platform: Platform, victim: str
) -> None:
    wait_for(lambda: len(_workers(platform)) == 2, "two ready workers")
    with Load(platform) as load:
        wait_for(lambda: load.answered > 50, "load")
        pid = _workers(platform)[0] if victim == "worker" else _processes(platform)[victim]
        os.kill(pid, signal.SIGKILL)
        before = load.answered
        wait_for(lambda: load.answered > before + 200, "answers after the kill")
        if victim != "worker":
            wait_for(lambda: _processes(platform).get(victim, pid) != pid, "a new process")
    assert load.wrong == []
    if (
        victim != "gateway-0"
    ):  # Connections end with their gateway; boto3 tries again, and gives up at the third.
        assert load.refused == [], "the data plane goes on while another process is down"
    wait_for(lambda: len(_workers(platform)) == 2, "two ready workers")
    description = platform.client("sagemaker").describe_endpoint(EndpointName="double")
    assert description["EndpointStatus"] == "InService"


def test_what_was_acknowledged_survives_the_death_of_everything(
    platform: Platform, tmp_path: Path
) -> None:
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="kept")
    for number in range(20):
        s3.put_object(Bucket="kept", Key=f"k{number}", Body=str(number).encode() * 1000)
        sagemaker.add_tags(
            ResourceArn="arn:aws:sagemaker:us-east-1:123456789012:endpoint/double",
            Tags=[{"Key": f"t{number}", "Value": str(number)}],
        )
    before = _processes(platform)
    for name in ("control", "objects", "gateway-0", "host"):
        os.kill(before[name], signal.SIGKILL)
    wait_for(
        lambda: all(
            _processes(platform).get(n) not in (None, before[n])
            for n in before
            if n != "supervisor"
        ),
        "new processes",
    )
    wait_for(
        lambda: command("status", home=platform.home.root).returncode == 0, "an answer of control"
    )
    for number in range(20):
        body = s3.get_object(Bucket="kept", Key=f"k{number}")["Body"].read()
        assert body == str(number).encode() * 1000
    tags = sagemaker.list_tags(
        ResourceArn="arn:aws:sagemaker:us-east-1:123456789012:endpoint/double"
    )["Tags"]
    assert {tag["Key"] for tag in tags} >= {f"t{number}" for number in range(20)}
    wait_for(lambda: len(_workers(platform)) == 2, "two ready workers")


def test_a_platform_whose_supervisor_is_killed_starts_again_with_everything(
    platform: Platform,
) -> None:
    before = _processes(platform)
    os.kill(before["supervisor"], signal.SIGKILL)
    wait_for(lambda: not any(_alive(pid) for pid in before.values()), "the end of its processes")
    started = command(
        "up", "--detach", "--port", str(platform.settings.port), home=platform.home.root
    )
    assert started.returncode == 0, started.stderr
    wait_for(lambda: len(_workers(platform)) == 2, "two ready workers")
    with Load(platform) as load:
        wait_for(lambda: load.answered > 100, "answers")
    assert (load.wrong, load.refused) == ([], [])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # Also of one that goes while it is read.
        return False
