"""Requests asked again: in order, of the right variant, and the candidate goes whatever happens."""

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import CommandFailed
from modelyard.cli.replay import Fleet, Pace, Replay, candidate
from modelyard.domain.capture import Captured, Side
from modelyard.testing.clock import ManualClock


class Endpoints:
    """SageMaker with one endpoint, which is Creating for a few looks."""

    def __init__(self, *, looks: int = 2, end: str = "InService") -> None:
        self.alive: set[str] = set()
        self._looks = looks
        self._end = end

    def create_endpoint(self, *, EndpointName: str, **_: Any) -> None:
        self.alive.add(EndpointName)

    def describe_endpoint(self, *, EndpointName: str) -> dict[str, Any]:
        self._looks -= 1
        if self._looks == 0 and self._end == "interrupt":
            raise KeyboardInterrupt
        status = "Creating" if self._looks > 0 else self._end
        return {"EndpointStatus": status, "FailureReason": "it cannot load"}

    def delete_endpoint(self, *, EndpointName: str) -> None:
        self._looks -= 1
        if self._looks == -1:
            raise _error("ValidationException", "Cannot update in-progress endpoint", 400)
        if EndpointName not in self.alive:
            raise _error("ValidationException", "Could not find endpoint", 400)
        self.alive.discard(EndpointName)


class Runtime:
    """Answers a body with itself; ``asked`` are endpoint, variant and body in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self._lock = threading.Lock()

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self.asked.append((request["EndpointName"], request["TargetVariant"], request["Body"]))
        if request["EndpointName"] == "new" and request["Body"] == b"3":
            error = _error("ModelError", "it fails", 424)
            error.response["OriginalStatusCode"] = 500  # type: ignore[typeddict-unknown-key]
            raise error
        return {"Body": _Body(request["Body"]), "ContentType": "text/csv"}


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        return self._data


def _error(code: str, message: str, status: int) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "Operation")


def captured(number: int) -> tuple[Captured, str]:
    side = Side("text/csv", str(number).encode())
    one = Captured(
        event_id=str(number),
        inference_id="",
        moment=ManualClock(1_700_000_000.0).now() + number // 4,
        request=side,
        answer=side,
    )
    return one, "gone" if number % 2 else "all"


@pytest.mark.parametrize("callers", [1, 4])
def test_every_request_is_asked_of_both_and_results_keep_the_order(callers: int) -> None:
    runtime, told = Runtime(), []
    pace = Pace(speed=0, callers=callers, seed=1)
    replay = Replay(
        runtime,
        Fleet(endpoint="old", weights={"all": 1.0, "idle": 0.0}),
        Fleet(endpoint="new", weights={"all": 1.0}),
        pace=pace,
        tolerance=0.001,
    )
    found = replay.run((captured(number) for number in range(20)), lambda: told.append(1))
    assert [one.event_id for one in found] == [str(number) for number in range(20)]
    assert len(told) == 20
    assert {one[1] for one in runtime.asked} == {"all"}
    assert [one.new.status for one in found] == [500 if n == 3 else 200 for n in range(20)]
    assert [one.agrees for one in found] == [n != 3 for n in range(20)]
    if callers == 1:
        bodies = [body for endpoint, _, body in runtime.asked if endpoint == "new"]
        assert bodies == [str(number).encode() for number in range(20)]


def test_captured_answers_may_stand_for_the_old_fleet() -> None:
    runtime = Runtime()
    pace = Pace(speed=0, callers=2, seed=1)
    new = Fleet(endpoint="new", weights={"all": 1.0})
    found = Replay(runtime, None, new, pace=pace, tolerance=0.0).run(
        map(captured, range(3)), lambda: None
    )
    assert {endpoint for endpoint, _, _ in runtime.asked} == {"new"}
    assert all(one.agrees for one in found)


def test_the_candidate_is_gone_in_the_end() -> None:
    sagemaker = Endpoints()
    with candidate(sagemaker, "churn", "v2") as name:
        assert name.startswith("rehearsal-churn-")
        assert sagemaker.alive == {name}
    assert sagemaker.alive == set()


def test_a_candidate_that_cannot_start_says_why_and_goes() -> None:
    sagemaker = Endpoints(end="Failed")
    with pytest.raises(CommandFailed, match="it cannot load"), candidate(sagemaker, "c", "v2"):
        pass
    assert sagemaker.alive == set()


def test_a_candidate_is_gone_when_its_creation_is_interrupted() -> None:
    sagemaker = Endpoints(end="interrupt")
    with pytest.raises(KeyboardInterrupt), candidate(sagemaker, "x" * 63, "v2"):
        pass
    assert sagemaker.alive == set()
