"""Traces of a real platform, at a collector that reads them by OpenTelemetry's own messages."""

import json
import subprocess
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.losses import wait_for
from modelyard.testing.models import doubling_model
from modelyard.testing.platform import command, running_platform

SCRIPT = Path(__file__).parent / "scripts" / "read_otlp.py"
ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Keeps what is posted. ``status`` is what it answers."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_right = self.path == "/v1/traces"
                if is_right and collector.status == 200:
                    collector.keys.add(self.headers["x-key"])
                    collector.requests.append(json.loads(body))
                self.send_response(collector.status if is_right else 404)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *arguments: object) -> None:
                """Not a word."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def platform(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20secret",
        "OTEL_SERVICE_NAME": "yard",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    }
    folder = tmp_path_factory.mktemp("traced")
    with running_platform(folder / "home", environment=environment) as platform:
        s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
        s3.create_bucket(Bucket="models")
        s3.put_object(
            Bucket="models", Key="m.onnx", Body=doubling_model(folder / "m.onnx").read_bytes()
        )
        container = {"Image": "modelyard/onnx", "ModelDataUrl": "s3://models/m.onnx"}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName="c", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        sagemaker.create_endpoint(EndpointName="doubles", EndpointConfigName="c")
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName="doubles", WaiterConfig={"Delay": 1}
        )
        yield platform


@pytest.fixture(scope="module")
def spans(collector: Collector, clients_folder: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Of one trace, all that has come so far."""

    def spans(trace: str) -> list[dict[str, Any]]:
        read = subprocess.run(
            [str(clients_folder / "sagemaker-3/bin/python"), str(SCRIPT)],
            input=json.dumps(collector.requests), capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert read.returncode == 0, read.stderr
        found = [json.loads(line) for line in read.stdout.splitlines()]
        return [one for one in found if one["trace"] == trace]

    return spans


def traced(platform: Platform, service: str, parent: str) -> Any:
    """A client whose caller has a trace, as OpenTelemetry's instrumentation of botocore hands it on."""
    client = platform.client(service)

    def add(request: Any, **_: Any) -> None:
        request.headers["traceparent"] = parent
        request.headers["tracestate"] = "shop=1"

    client.meta.events.register("before-sign", add)
    return client


def came(collector: Collector, trace: str, count: int) -> bool:
    texts = json.dumps(collector.requests)
    return texts.count(f'"traceId": "{trace}"') >= count


def test_an_invocation_is_traced_from_its_caller_to_the_worker(
    platform: Platform, collector: Collector, spans: Callable[[str], list[dict[str, Any]]]
) -> None:
    runtime = traced(platform, "sagemaker-runtime", f"00-{TRACE}-{CALLER}-01")
    asked = {"EndpointName": "doubles", "ContentType": "text/csv"}
    answer = runtime.invoke_endpoint(**asked, Body="21")
    assert answer["Body"].read().strip() == b"42.0"
    with pytest.raises(ClientError):
        runtime.invoke_endpoint(**asked, Body="no number")
    untraced = platform.client("sagemaker-runtime")
    untraced.invoke_endpoint(**asked, Body="1")  # Its root is not sampled.
    wait_for(lambda: came(collector, TRACE, 6), "six spans")
    found = spans(TRACE)

    request, failed = sorted((one for one in found if one["parent"] == CALLER), key=lambda one: one["begin"])  # fmt: skip
    assert request["name"] == "POST /endpoints/{EndpointName}/invocations"
    assert (request["kind"], request["state"]) == ("SPAN_KIND_SERVER", "shop=1")
    said = request["attributes"]
    assert said["http.response.status_code"] == 200
    assert said["aws.request_id"] == answer["ResponseMetadata"]["RequestId"]
    assert (said["modelyard.endpoint"], said["modelyard.variant"]) == ("doubles", "v")
    assert said["cloud.resource_id"].endswith(":endpoint/doubles")
    queue, predict = sorted(
        (one for one in found if one["parent"] == request["id"]), key=lambda one: one["begin"]
    )
    assert (queue["name"], queue["events"], predict["name"]) == ("queue", ["sent"], "predict")
    assert request["begin"] <= queue["begin"] <= queue["end"] == predict["begin"]
    assert predict["begin"] < predict["end"] <= request["end"]
    assert predict["attributes"]["modelyard.batch.requests"] == 1
    resources = [one["resource"] for one in (request, predict)]
    assert [one["service.name"] for one in resources] == ["yard", "yard"]
    gateway, worker = (one["service.instance.id"] for one in resources)
    assert gateway.startswith("gateway") and worker != gateway

    assert failed["attributes"]["http.response.status_code"] == 424
    assert failed["attributes"]["error.type"] == "ModelError"
    assert not failed["error"], "the row was the client's mistake"
    tried = next(o for o in found if o["parent"] == failed["id"] and o["name"] == "predict")
    assert tried["error"] and tried["attributes"]["http.response.status_code"] == 400
    assert len(found) == 6 and collector.keys == {"a secret"}
    assert {one["trace"] for one in spans(TRACE)} == {TRACE}
    assert json.dumps(collector.requests).count('"name": "predict"') == 2


def test_a_call_of_the_api_is_a_span_with_the_callers_trace(
    platform: Platform, collector: Collector, spans: Callable[[str], list[dict[str, Any]]]
) -> None:
    trace = "ab" * 16
    sagemaker = traced(platform, "sagemaker", f"00-{trace}-{CALLER}-01")
    with pytest.raises(ClientError) as refused:
        sagemaker.describe_endpoint(EndpointName="nowhere")
    wait_for(lambda: came(collector, trace, 1), "a span")
    (call,) = spans(trace)
    assert (call["name"], call["parent"]) == ("SageMaker/DescribeEndpoint", CALLER)
    assert call["attributes"]["rpc.method"] == "SageMaker/DescribeEndpoint"
    assert call["attributes"]["error.type"] == refused.value.response["Error"]["Code"]


def test_a_collector_that_refuses_costs_spans_and_no_request(
    platform: Platform, collector: Collector
) -> None:
    collector.status = 400
    trace = "cd" * 16
    runtime = traced(platform, "sagemaker-runtime", f"00-{trace}-{CALLER}-01")
    for _ in range(5):
        answer = runtime.invoke_endpoint(EndpointName="doubles", ContentType="text/csv", Body="2")
        assert answer["Body"].read().strip() == b"4.0"
    dropped = "modelyard_trace_spans_dropped_total 15"
    wait_for(lambda: dropped in metrics(platform), "dropping all of them")
    collector.status = 200
    runtime.invoke_endpoint(EndpointName="doubles", ContentType="text/csv", Body="2")
    wait_for(lambda: came(collector, trace, 3), "what came after")


def metrics(platform: Platform) -> str:
    stored = json.loads(platform.home.credentials.read_text())
    pair = f"{stored['access_key_id']}:{stored['secret_access_key']}".encode()
    request = urllib.request.Request(
        f"{platform.url}/_modelyard/metrics",
        headers={"Authorization": f"Basic {b64encode(pair).decode()}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/json only"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "jaeger_remote is not executed"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem"}, "/nowhere.pem does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_start(
    variables: dict[str, str], said: str, tmp_path: Path
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example", **variables}
    started = command("up", "--detach", "--port", "0", home=tmp_path, environment=environment)
    assert started.returncode == 1 and said in " ".join(started.stderr.split())
