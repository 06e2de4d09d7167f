"""Versions of a model that behave as they are told, and callers who know whose answer they got; for tests of rollouts.

A version answers each number with itself, after three milliseconds, so that an answer that went astray shows. The container's
environment says how it behaves: ``good``, ``errors`` (every third request fails, or one in ``EVERY``), ``slow`` (400 ms),
``crash`` (it cannot start), ``wrong`` (the number with another sign).
"""

import http.client
import io
import select
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelyard.cli.platform import Platform
from modelyard.testing.models import add_file

SLOW_SECONDS = 0.4
USUAL_SECONDS = 0.003
"""Enough that there is something in flight whenever a process is killed."""
_SCRIPT = f"""
import os, time
BEHAVIOUR = os.environ.get("BEHAVIOUR", "good")
def model_fn(folder):
    if BEHAVIOUR == "crash":
        raise RuntimeError("this version cannot start")
def predict_fn(rows, model):
    time.sleep({SLOW_SECONDS} if BEHAVIOUR == "slow" else {USUAL_SECONDS})
    if BEHAVIOUR == "errors" and int(rows[0][0]) % int(os.environ.get("EVERY", "3")) == 0:
        raise RuntimeError("this version fails now and then")
    return -rows if BEHAVIOUR == "wrong" else rows
"""
ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
BUCKET, KEY = "candidates", "model.tar.gz"
PATIENCE_SECONDS = 180.0
ANSWER_SECONDS = 90.0
"""A caller asks again for so long; then its request is lost."""


def archive() -> bytes:
    """The ``model.tar.gz`` of all of them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        add_file(tar, "code/inference.py", _SCRIPT.encode())
    return packed.getvalue()


ALARMS: Mapping[str, tuple[str, str, Mapping[str, str], float]] = {
    "errors": ("AWS/SageMaker", "Invocation5XXErrors", {"Statistic": "Average"}, 0.05),
    "slow": ("AWS/SageMaker", "ModelLatency", {"ExtendedStatistic": "p50"}, 200_000.0),
    "wrong": ("Modelyard/Shadow", "Disagreements", {"Statistic": "Average"}, 0.2),
}
"""Namespace, metric, statistic and threshold of the alarm that each fault rings."""


class Callers:
    """Threads that ask an endpoint of a platform without signatures, each with numbers of its own.

    ``outcomes`` counts answers by what they were; a caller whose connection broke, or who was refused with 429 or 503, asks
    the same again, which ``asked_again`` counts. An answer that is not the caller's own, or more bytes than one answer, is
    ``crossed`` or ``twice``.
    """

    def __init__(self, port: int, endpoint: str, *, count: int, pause: float = 0.0) -> None:
        self.outcomes: Counter[str] = Counter()
        self.asked_again: Counter[str] = Counter()
        self.crossed: list[tuple[int, Any]] = []
        self.twice = 0
        self.lost: list[int] = []
        self.slowest = 0.0
        self._port = port
        self._path = f"/endpoints/{endpoint}/invocations"
        self._pause = pause
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(place, count)) for place in range(count)
        ]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def requests(self) -> int:
        """All that ended."""
        return sum(self.outcomes.values()) + len(self.lost)

    def _run(self, place: int, count: int) -> None:
        connection = self._connect()
        number = place
        while not self._stop.is_set():
            number += count
            begun = time.monotonic()
            while not self._ask(connection, number):
                connection.close()
                if time.monotonic() - begun > ANSWER_SECONDS:
                    with self._lock:
                        self.lost.append(number)
                    break
                time.sleep(0.05)
                connection = self._connect()
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - begun)
            self._stop.wait(self._pause)
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=75.0)

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> bool:
        """Whether it was answered."""
        headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
        try:
            connection.request("POST", self._path, body=f"{number}\n", headers=headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return self._again(f"the connection broke ({type(error).__name__})")
        if answer.status in (429, 503):
            return self._again(f"refused with {answer.status}")
        self._judge(number, answer.status, said)
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            self._look_behind(connection)
        return True

    def _again(self, why: str) -> bool:
        with self._lock:
            self.asked_again[why] += 1
        return False

    def _judge(self, number: int, status: int, said: bytes) -> None:
        with self._lock:
            if status != 200:
                self.outcomes[f"error {status}"] += 1
                return
            value = float(said)
            outcome = "own answer" if value == number else "wrong answer"
            if value not in (number, -number):
                outcome = "crossed"
                self.crossed.append((number, value))
            self.outcomes[outcome] += 1

    def _look_behind(self, connection: http.client.HTTPConnection) -> None:
        """Nothing may follow an answer but the connection's end."""
        try:
            more = connection.sock.recv(1)
        except OSError:
            return
        with self._lock:
            self.twice += bool(more)


@dataclass(frozen=True)
class Candidate:
    """A version to roll out on ``endpoint``. ``kind``: a policy, or SHADOW: all at once, as the shadow of what serves."""

    endpoint: str
    kind: str
    behaviour: str
    prefix: str = ""

    @property
    def name(self) -> str:
        """Of its model and its config."""
        return f"{self.prefix}{self.kind.lower().replace('_', '-')}-{self.behaviour}"


def prepare(platform: Platform, candidate: Candidate, *, serving: str) -> None:
    """The candidate's model, config and alarms. A shadow stands beside the model that serves."""
    sagemaker, cloudwatch = platform.client("sagemaker"), platform.client("cloudwatch")
    name = candidate.name
    container = {
        "Image": "modelyard/python",
        "ModelDataUrl": f"s3://{BUCKET}/{KEY}",
        "Environment": {"BEHAVIOUR": candidate.behaviour},
    }
    model = {"ModelName": name, "ExecutionRoleArn": ROLE, "PrimaryContainer": container}
    patiently(lambda: sagemaker.create_model(**model))
    common = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
    is_shadow = candidate.kind == "SHADOW"
    variants = {
        "ProductionVariants": [
            {**common, "VariantName": "all", "ModelName": serving if is_shadow else name}
        ]
    }
    if is_shadow:
        variants["ShadowProductionVariants"] = [
            {**common, "VariantName": "candidate", "ModelName": name}
        ]
    patiently(lambda: sagemaker.create_endpoint_config(EndpointConfigName=name, **variants))
    watched = "candidate" if is_shadow else "all"
    dimensions = {
        "EndpointName": candidate.endpoint,
        "VariantName": watched,
        "EndpointConfigName": name,
    }
    for alarm, (namespace, metric, statistic, threshold) in ALARMS.items():
        asked = {
            "AlarmName": f"{name}-{alarm}",
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            "Period": 10,
            "EvaluationPeriods": 1,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            **statistic,
        }
        patiently(partial(cloudwatch.put_metric_alarm, **asked))


def deployment(candidate: Candidate) -> dict[str, Any]:
    """A good candidate bakes for a moment, a bad one until an alarm has seen it."""
    wait = 1 if candidate.behaviour in ("good", "crash") else 120
    half = {"Type": "CAPACITY_PERCENT", "Value": 50}
    found: dict[str, Any]
    if candidate.kind == "ROLLING":
        found = {"RollingUpdatePolicy": {"MaximumBatchSize": half, "WaitIntervalInSeconds": wait}}
    else:
        kind = candidate.kind if candidate.kind in ("CANARY", "LINEAR") else "ALL_AT_ONCE"
        sizes = {"CANARY": {"CanarySize": half}, "LINEAR": {"LinearStepSize": half}}
        routing = {"Type": kind, "WaitIntervalInSeconds": wait, **sizes.get(kind, {})}
        found = {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": routing,
                "TerminationWaitInSeconds": wait,
            }
        }
    names = [{"AlarmName": f"{candidate.name}-{alarm}"} for alarm in ALARMS]
    return {**found, "AutoRollbackConfiguration": {"Alarms": names}}


def reasons_of(candidate: Candidate) -> list[str]:
    """What may stand in ``FailureReason``: an alarm that the candidate's fault has to ring, or its own last words."""
    if candidate.behaviour == "crash":
        return ["cannot start"]
    # A shadow that fails where production answers disagrees: either alarm may ring first.
    seen_as = ["errors", "wrong"] if candidate.behaviour == "errors" else [candidate.behaviour]
    return [f"{candidate.name}-{alarm}" for alarm in seen_as]


def patiently(act: Callable[[], object]) -> None:
    """Until it works, or says that it has worked before, when the answer got lost with its process."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            act()
            return
        except Exception as error:
            if "already existing" in str(error) or "in-progress" in str(error):
                return
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
