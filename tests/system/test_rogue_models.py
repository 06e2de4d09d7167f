"""Models that raise, hang, exit, lie and chatter: each caller hears why, and nobody else suffers."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing import models, rogue
from modelyard.testing.platform import command, running_platform

LOG_QUOTA = 1_000_000
SETTLED_SECONDS = 120.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    trusted = [word for name in sorted(rogue.ROGUES) for word in ("--trust-import", name)]
    bounds = (
        "--limit",
        "invocation_seconds=5",
        "--limit",
        "startup_seconds=10",
        "--limit",
        f"log_stream_bytes={LOG_QUOTA}",
    )
    home = tmp_path_factory.mktemp("rogues") / "home"
    with running_platform(home, *trusted, *bounds) as platform:
        yield platform


@pytest.fixture
def deploy(platform: Platform, tmp_path: Path) -> Callable[..., Any]:
    def deploy(name: str, estimator: Any, *, count: int = 1) -> Any:
        path = models.joblib_model(tmp_path, estimator)
        return command(
            "deploy", str(path), "--name", name, "--count", str(count), home=platform.home.root
        )

    return deploy


def _ask(platform: Platform, name: str, body: str) -> bytes:
    client = platform.client("sagemaker-runtime", read_timeout=60)
    answer: bytes = client.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)[
        "Body"
    ].read()
    return answer


def _refusal(platform: Platform, name: str, body: str = "1,2") -> dict[str, Any]:
    with pytest.raises(ClientError) as refused:
        _ask(platform, name, body)
    response: dict[str, Any] = refused.value.response
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    return response


def _eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLED_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


def test_a_model_that_raises_is_a_model_error_with_its_words(
    platform: Platform, deploy: Any
) -> None:
    assert deploy("raises", rogue.RaisesOnPredict()).returncode == 0
    response = _refusal(platform, "raises")
    assert response["OriginalStatusCode"] == 500
    assert "this model always fails" in response["OriginalMessage"]
    assert "raises" in response["LogStreamArn"]
    # The traceback is in the container's log, as a data scientist would look for it.
    _eventually(
        lambda: (
            "RuntimeError: this model always fails"
            in command("logs", "raises", home=platform.home.root).stdout
        ),
        "the traceback in the log",
    )


def test_a_model_that_answers_the_wrong_number_is_named(platform: Platform, deploy: Any) -> None:
    assert deploy("wrong-length", rogue.WrongLength()).returncode == 0
    response = _refusal(platform, "wrong-length", "1,2\n3,4")
    assert response["OriginalStatusCode"] == 500
    assert "3" in response["OriginalMessage"]
    assert "2 rows" in response["OriginalMessage"]


def test_a_model_that_cannot_be_loaded_fails_its_endpoint(platform: Platform, deploy: Any) -> None:
    failed = deploy("no-load", rogue.RaisesOnLoad())
    assert failed.returncode == 1
    assert "this model cannot be loaded" in failed.stderr


def test_a_model_that_hangs_while_it_loads_fails_its_health_check(
    platform: Platform, deploy: Any
) -> None:
    failed = deploy("hangs-on-load", rogue.HangsOnLoad())
    assert failed.returncode == 1
    assert "did not pass the ping health check" in failed.stderr


def test_a_model_that_hangs_times_out_and_its_worker_comes_back(
    platform: Platform, deploy: Any
) -> None:
    assert deploy("hangs", rogue.HangsOn(value=-1.0)).returncode == 0
    assert _ask(platform, "hangs", "1,2") == b"3.0\n"
    response = _refusal(platform, "hangs", "-1,2")
    assert response["OriginalStatusCode"] == 0
    assert response["LogStreamArn"].endswith(":log-group:/aws/sagemaker/Endpoints/hangs")
    assert "timed out" in response["Error"]["Message"]
    _eventually(lambda: _answers(platform, "hangs"), "an answer of the new worker")
    description = platform.client("sagemaker").describe_endpoint(EndpointName="hangs")
    assert description["EndpointStatus"] == "InService"


def _answers(platform: Platform, name: str) -> bool:
    try:
        return _ask(platform, name, "1,2") == b"3.0\n"
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("ModelError", "ServiceUnavailable")
        return False


def test_poison_kills_its_worker_and_spares_its_neighbours(platform: Platform, deploy: Any) -> None:
    assert deploy("poison", rogue.ExitsOn(value=-1.0), count=2).returncode == 0
    outcomes: dict[int, bytes | str] = {}

    def call(number: int) -> None:
        body = "-1,0" if number == 20 else f"{number},{number}"
        try:
            outcomes[number] = _ask(platform, "poison", body)
        except ClientError as error:
            outcomes[number] = error.response["Error"]["Code"]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.pop(20) == "ModelError"
    assert outcomes == {number: f"{2.0 * number}\n".encode() for number in outcomes}


def test_a_model_that_exits_is_a_model_error_every_time(platform: Platform, deploy: Any) -> None:
    assert deploy("exits", rogue.Exits()).returncode == 0
    response = _refusal(platform, "exits")
    assert "died" in response["OriginalMessage"]


def test_a_chatterbox_fills_neither_the_log_nor_the_disk(platform: Platform, deploy: Any) -> None:
    assert deploy("chatter", rogue.PrintsMuch(megabytes=30)).returncode == 0
    for _ in range(3):
        assert _ask(platform, "chatter", "1,2") == b"3.0\n"
    _eventually(
        lambda: (
            "the rest is dropped"
            in command("logs", "chatter", "-n", "10000", home=platform.home.root).stdout
        ),
        "the notice in the log",
    )
    raw = platform.home.logs / "raw"
    _eventually(
        lambda: sum(path.stat().st_blocks * 512 for path in raw.iterdir()) < 20 << 20,
        "a small raw log",
    )


def test_answers_that_json_cannot_say_are_null(platform: Platform, deploy: Any) -> None:
    assert deploy("not-finite", rogue.NotFinite()).returncode == 0
    client = platform.client("sagemaker-runtime")
    answer = client.invoke_endpoint(
        EndpointName="not-finite",
        ContentType="application/json",
        Body=b'{"instances": [[1, 2], [3, 4]]}',
    )
    assert json.load(answer["Body"]) == {"predictions": [None, None]}
