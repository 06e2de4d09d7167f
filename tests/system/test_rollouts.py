"""Updates of a live endpoint by every policy, through boto3, under load: nothing is lost, and the end is as it says."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
SETTLE_SECONDS = 120.0
SEEN_SECONDS = 3600
"""A bake that lasts until somebody has seen it, and ends it."""


def constant(folder: Path, value: float) -> bytes:
    """An ONNX model whose every answer is ``value``: the answer tells which version gave it."""
    from onnx import TensorProto, helper, numpy_helper

    zeros = numpy_helper.from_array(np.zeros((1, 1), np.float32), "zeros")
    answer = numpy_helper.from_array(np.array([value], np.float32), "value")
    nodes = [
        helper.make_node("MatMul", ["x", "zeros"], ["nothing"]),
        helper.make_node("Add", ["nothing", "value"], ["y"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1])] for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "constant", *ends, [zeros, answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def versions(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Configs ``v1``, ``v2`` (two instances that answer 1 and 2) and ``broken``."""
    folder = tmp_path_factory.mktemp("versions")
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="versions")
    bodies = {"v1": constant(folder, 1.0), "v2": constant(folder, 2.0), "broken": b"no model"}
    for name, body in bodies.items():
        s3.put_object(Bucket="versions", Key=f"{name}.onnx", Body=body)
        url = f"s3://versions/{name}.onnx"
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": "modelyard/python", "ModelDataUrl": url},
        )
        variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 2}]
        )
    return platform


@contextmanager
def endpoint(platform: Platform, name: str) -> Iterator[Any]:
    sagemaker = platform.client("sagemaker")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="v1")
    settled(sagemaker, name)
    try:
        yield sagemaker
    finally:
        sagemaker.delete_endpoint(EndpointName=name)


def settled(sagemaker: Any, name: str, seen: list[Any] | None = None) -> Any:
    """The endpoint when nothing moves any more; every description on the way goes to ``seen``."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        found = sagemaker.describe_endpoint(EndpointName=name)
        if seen is not None:
            seen.append(found)
        if found["EndpointStatus"] not in ("Creating", "Updating"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} did not settle: {found}")


def stages_of(described: Any) -> list[Any]:
    """What is said of the one variant that is rolled out, if one is."""
    pending = described.get("PendingDeploymentSummary", {"ProductionVariants": ()})
    return [one for variant in pending["ProductionVariants"] for one in variant["VariantStatus"]]


def answers_again(sagemaker: Any) -> None:
    """Return when control is back; on a busy machine that takes longer than a client is patient."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            sagemaker.list_endpoints()
            return
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            assert time.monotonic() < end, error
        time.sleep(0.1)


class Load:
    """Callers that do not retry; what each of their requests came to."""

    def __init__(self, platform: Platform, name: str, callers: int = 3) -> None:
        self.answers: Counter[object] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._arguments = (platform, name)
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        while not self.answers:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        platform, name = self._arguments
        once = Config(retries={"total_max_attempts": 1})
        runtime = platform._session.create_client(
            "sagemaker-runtime",
            endpoint_url=platform.url,
            region_name=platform.region,
            aws_access_key_id=platform.credentials.access_key_id,
            aws_secret_access_key=platform.credentials.secret_access_key,
            config=once,
        )
        while not self._stop.is_set():
            try:
                answer = runtime.invoke_endpoint(
                    EndpointName=name,
                    ContentType="text/csv",
                    Accept="application/json",
                    Body=b"1\n",
                )
                found: object = json.load(answer["Body"])["predictions"][0][0]
            except Exception as error:  # noqa: BLE001 - counted, and looked at below
                found = repr(error)
            with self._lock:
                self.answers[found] += 1


def hurried(platform: Platform, name: str, load: Load) -> list[Any]:
    """All descriptions on the way of a rollout to ``v2``, each of whose bakes is ended when somebody has seen it and its answers.

    The last one is settled.
    """
    sagemaker = platform.client("sagemaker")
    seen: list[Any] = []
    ended: set[str] = set()
    end = time.monotonic() + SETTLE_SECONDS
    while not seen or seen[-1]["EndpointStatus"] == "Updating":
        assert time.monotonic() < end, f"{name} did not settle: {seen[-1]}"
        seen.append(sagemaker.describe_endpoint(EndpointName=name))
        for stage in stages_of(seen[-1]):
            is_seen = stage["Status"] == "Baking" and load.answers[2.0] > 0
            if is_seen and stage["StatusMessage"] not in ended:
                ended.add(stage["StatusMessage"])
                word = f"endpoint={name}&region={platform.region}&word=promote"
                platform.own_call("POST", f"/_modelyard/rollouts?{word}")
        time.sleep(0.05)
    return seen


def ledger(platform: Platform, name: str) -> Any:
    """Of the endpoint's last rollout, once its last request has ended."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        told = command("rollout", "report", name, "--json", home=platform.home.root)
        found = json.loads(told.stdout)["rollouts"][-1]
        if found["closed"]:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not closed: {found}")


def balanced(totals: Any) -> bool:
    """Whether every request that was accepted is accounted for."""
    ended = sum(totals[fleet]["answered"] for fleet in ("blue", "green"))
    ended += sum(totals["refused"].values()) + totals["left"] + totals["cut"]
    return bool(totals["accepted"] == ended > 0)


def size(percent: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": percent}


def blue_green(kind: str, *, last: int = 1, **routing: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": last, **routing}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": last,
        }
    }


@pytest.mark.parametrize(
    ("name", "deployment"),
    [
        ("at-once", blue_green("ALL_AT_ONCE", last=SEEN_SECONDS)),
        ("canary", blue_green("CANARY", last=SEEN_SECONDS, CanarySize=size(50))),
        ("linear", blue_green("LINEAR", last=SEEN_SECONDS, LinearStepSize=size(50))),
        (
            "rolling",
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": size(50),
                    "WaitIntervalInSeconds": SEEN_SECONDS,
                }
            },
        ),
    ],
)
def test_a_rollout_loses_nothing_and_ends_on_the_new_version(
    versions: Platform, name: str, deployment: dict[str, Any]
) -> None:
    with endpoint(versions, name) as sagemaker, Load(versions, name) as load:
        sagemaker.update_endpoint(
            EndpointName=name, EndpointConfigName="v2", DeploymentConfig=deployment
        )
        seen = hurried(versions, name, load)
        last = seen[-1]
        told = ledger(versions, name)
    assert (told["outcome"], told["from_config"], told["to_config"]) == ("promoted", "v1", "v2")
    assert [one["act"] for one in told["decisions"]][:2] == ["begun", "traffic moved"]
    totals = told["totals"]
    assert balanced(totals)
    assert (totals["lost"], totals["twice"], totals["crossed"]) == (0, 0, 0)
    assert totals["green"]["answered"] > 0
    assert last["EndpointStatus"] == "InService"
    assert last["EndpointConfigName"] == "v2"
    assert "PendingDeploymentSummary" not in last
    assert last["LastDeploymentConfig"] == deployment
    assert set(load.answers) == {1.0, 2.0}, load.answers
    messages = {stage.get("StatusMessage") for one in seen for stage in stages_of(one)}
    last_wait = "WaitIntervalInSeconds" if name == "rolling" else "TerminationWaitInSeconds"
    full = f"Baking for {SEEN_SECONDS} seconds ({last_wait}) with traffic enabled on full capacity of 2 instance(s)."
    assert full in messages
    assert {one["EndpointConfigName"] for one in seen[:-1]} == {"v1"}, "blue is shown until the end"


def test_a_version_that_cannot_start_leaves_the_old_one_serving(versions: Platform) -> None:
    with endpoint(versions, "broken-green") as sagemaker, Load(versions, "broken-green") as load:
        sagemaker.update_endpoint(
            EndpointName="broken-green",
            EndpointConfigName="broken",
            DeploymentConfig=blue_green("CANARY", CanarySize=size(50)),
        )
        last = settled(sagemaker, "broken-green")
    assert last["EndpointStatus"] == "InService"
    assert last["EndpointConfigName"] == "v1"
    assert "Variant all" in last["FailureReason"]
    assert set(load.answers) == {1.0}


def test_a_rollout_goes_on_when_control_is_killed_while_it_bakes(versions: Platform) -> None:
    deployment = blue_green("CANARY", CanarySize=size(50), WaitIntervalInSeconds=3)
    with endpoint(versions, "killed") as sagemaker, Load(versions, "killed") as load:
        sagemaker.update_endpoint(
            EndpointName="killed", EndpointConfigName="v2", DeploymentConfig=deployment
        )
        while not load.answers[2.0]:
            time.sleep(0.02)
        processes = json.loads(versions.home.process_table.read_text())
        os.kill(processes["control"], signal.SIGKILL)
        answers_again(sagemaker)
        seen: list[Any] = []
        last = settled(sagemaker, "killed", seen)
        told = ledger(versions, "killed")
    acts = [one["act"] for one in told["decisions"]]
    assert acts == ["begun", "traffic moved", "bake over", "traffic moved", "promoted"]
    assert balanced(told["totals"]), "the gateways' books outlived control"
    assert (last["EndpointStatus"], last["EndpointConfigName"]) == ("InService", "v2")
    assert set(load.answers) == {1.0, 2.0}, load.answers


def test_an_alarm_sends_a_rollout_back_and_the_report_says_why(
    versions: Platform, tmp_path: Path
) -> None:
    cloudwatch = versions.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="too-many-errors",
        Namespace="AWS/SageMaker",
        MetricName="InvocationModelErrors",
        Statistic="Sum",
        Period=3600,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
    )
    deployment = blue_green("CANARY", CanarySize=size(50), WaitIntervalInSeconds=600)
    deployment["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": "too-many-errors"}]}
    with endpoint(versions, "alarmed") as sagemaker, Load(versions, "alarmed") as load:
        sagemaker.update_endpoint(
            EndpointName="alarmed", EndpointConfigName="v2", DeploymentConfig=deployment
        )
        while not load.answers[2.0]:
            time.sleep(0.02)
        cloudwatch.set_alarm_state(
            AlarmName="too-many-errors", StateValue="ALARM", StateReason="a drill"
        )
        last = settled(sagemaker, "alarmed")
        told = ledger(versions, "alarmed")
        page = tmp_path / "report.html"
        told_page = command(
            "rollout", "report", "alarmed", "--html", str(page), home=versions.home.root
        )
        table = command("rollout", "report", "alarmed", home=versions.home.root).stdout
    assert told_page.returncode == 0, told_page.stderr
    assert "a drill" in page.read_text(), "the page says what the alarm said"
    assert "rolled back" in table
    decision = told["decisions"][-1]
    assert (decision["act"], decision["alarms"][0]["state"]) == ("rolled back", "ALARM")
    assert decision["totals"]["green"]["answered"] > 0
    assert (last["EndpointStatus"], last["EndpointConfigName"]) == ("InService", "v1")
    assert "Alarm too-many-errors was in ALARM" in last["FailureReason"]
    assert set(load.answers) == {1.0, 2.0}, load.answers
    cloudwatch.delete_alarms(AlarmNames=["too-many-errors"])


def test_a_person_holds_a_rollout_hurries_it_and_sends_another_back(versions: Platform) -> None:
    home = versions.home.root

    def state(name: str) -> Any:
        return json.loads(command("rollout", "status", name, "--json", home=home).stdout)

    def tell(word: str, name: str) -> None:
        told = command("rollout", word, name, home=home)
        assert told.returncode == 0, told.stderr

    def until(condition: Any) -> None:
        end = time.monotonic() + SETTLE_SECONDS
        while not condition():
            assert time.monotonic() < end, state("steered")
            time.sleep(0.05)

    deployment = blue_green("CANARY", CanarySize=size(50), WaitIntervalInSeconds=3600)
    with endpoint(versions, "steered") as sagemaker:
        idle = command("rollout", "pause", "steered", home=home)
        assert "Nothing is being rolled out" in idle.stderr
        for config, word in (("v2", "promote"), ("v1", "abort")):
            sagemaker.update_endpoint(
                EndpointName="steered", EndpointConfigName=config, DeploymentConfig=deployment
            )
            until(lambda: (state("steered")["rollout"] or {}).get("doing") == "baking")
            assert state("steered")["rollout"]["shares"] == {"all": 0.5}
            tell("pause", "steered")
            assert state("steered")["rollout"]["held"]
            tell(word, "steered")
            last = settled(sagemaker, "steered")
            assert last["EndpointConfigName"] == "v2"
        assert last["FailureReason"] == "The deployment was aborted."
        shown = command("rollout", "status", "steered", home=home).stdout
        assert "The deployment was aborted." in shown


def told(platform: Platform, *words: str) -> Any:
    """What ``modelyard rollout`` says, as JSON."""
    done = command("rollout", *words, "--json", home=platform.home.root)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def waits_at(platform: Platform, name: str, stage: int) -> Any:
    """Its state, once it is at the gate of this stage."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        found = told(platform, "status", name)["rollout"]
        if found and found["doing"] == "waiting at its gate" and found["stage"] == stage:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{name} is not at gate {stage}: {found}")


def test_a_gated_update_waits_for_a_person_and_its_dry_run_alarm_is_only_noted(
    versions: Platform,
) -> None:
    cloudwatch = versions.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="too-many", MetricName="Invocations", Namespace="AWS/SageMaker", Statistic="Sum",
        Period=60, EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="breaching",
    )  # fmt: skip
    with endpoint(versions, "gated") as sagemaker:
        arn = sagemaker.describe_endpoint(EndpointName="gated")["EndpointArn"]

        def tag(key: str, value: str) -> None:
            sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": f"modelyard:{key}", "Value": value}])

        tag("rollout-gate", "sometimes")
        tag("dry-run-alarms", "too-many")
        update = {
            "EndpointName": "gated",
            "EndpointConfigName": "v2",
            "DeploymentConfig": {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {
                        "Type": "CANARY",
                        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
                        "WaitIntervalInSeconds": 0,
                    }
                },
                "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "too-many"}]},
            },
        }
        with pytest.raises(sagemaker.exceptions.ClientError, match="before-traffic or each-step"):
            sagemaker.update_endpoint(**update)
        tag("rollout-gate", "each-step")
        sagemaker.update_endpoint(**update)
        waits_at(versions, "gated", 1)
        cloudwatch.set_alarm_state(AlarmName="too-many", StateValue="ALARM", StateReason="a test")
        command("rollout", "resume", "gated", home=versions.home.root)
        found = waits_at(versions, "gated", 2)
        assert (found["alarms"], found["dry_run_alarms"]) == ([], ["too-many"])
        assert found["would_have_gone_back"] == {"too-many": 1}
        os.kill(json.loads(versions.home.process_table.read_text())["control"], signal.SIGKILL)
        answers_again(sagemaker)
        waits_at(versions, "gated", 2)
        command("rollout", "resume", "gated", home=versions.home.root)
        assert settled(sagemaker, "gated")["EndpointConfigName"] == "v2"
        acts = [one["act"] for one in ledger(versions, "gated")["decisions"]]
        assert acts == [
            "begun", "waits at its gate", "traffic moved", "dry-run alarm", "bake over",
            "waits at its gate", "traffic moved", "promoted",
        ]  # fmt: skip
    cloudwatch.delete_alarms(AlarmNames=["too-many"])


def test_testers_reach_the_new_version_by_a_header_before_and_while_others_share_it(
    versions: Platform,
) -> None:
    runtime = versions.client("sagemaker-runtime")
    sent: dict[str, str] = {}
    runtime.meta.events.register(
        "before-sign.sagemaker-runtime.InvokeEndpoint",
        lambda request, **_: [request.headers.add_header(*one) for one in sent.items()],
    )

    def answers(count: int = 40, **headers: str) -> Counter[float]:
        sent.clear()
        sent.update(headers)
        found: Counter[float] = Counter()
        for _ in range(count):
            answer = runtime.invoke_endpoint(
                EndpointName="tested", ContentType="text/csv", Accept="application/json", Body=b"1"
            )
            found[json.load(answer["Body"])["predictions"][0][0]] += 1
        return found

    def tag(key: str, value: str) -> None:
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": f"modelyard:{key}", "Value": value}])

    deployment = blue_green("CANARY", CanarySize=size(50), WaitIntervalInSeconds=3600)
    with endpoint(versions, "tested") as sagemaker:
        arn = sagemaker.describe_endpoint(EndpointName="tested")["EndpointArn"]
        update = {"EndpointName": "tested", "EndpointConfigName": "v2"}
        tag("route-header", "for testers")
        with pytest.raises(sagemaker.exceptions.ClientError, match="X-Tester=yes"):
            sagemaker.update_endpoint(**update, DeploymentConfig=deployment)
        tag("route-header", "X-Tester=team a")
        tag("rollout-gate", "before-traffic")
        assert set(answers(**{"X-Tester": "team a"})) == {1.0}, "nothing is rolled out"
        sagemaker.update_endpoint(**update, DeploymentConfig=deployment)
        assert waits_at(versions, "tested", 1)["route_header"] == "x-tester=team a"
        assert answers() == {1.0: 40}
        assert answers(**{"X-Tester": "team b"}) == {1.0: 40}
        assert answers(**{"X-Tester": "team a"}) == {2.0: 40}
        command("rollout", "resume", "tested", home=versions.home.root)
        end = time.monotonic() + SETTLE_SECONDS
        while told(versions, "status", "tested")["rollout"]["doing"] != "baking":
            assert time.monotonic() < end
        assert set(answers()) == {1.0, 2.0}
        assert answers(**{"X-Tester": "team a"}) == {2.0: 40}
        command("rollout", "abort", "tested", home=versions.home.root)
        settled(sagemaker, "tested")
        assert answers(**{"X-Tester": "team a"}) == {1.0: 40}
        assert balanced(ledger(versions, "tested")["totals"])
