"""The tour that ``make demo`` gives: train a model on real data, serve it, ask it, score a file with it.

The data are the 569 tumours of the Wisconsin breast cancer set, which scikit-learn carries. Half train the model, half
are scored by the platform, online and in batch, and compared with what the model says in this process. In a second act a
version that fails now and then is rolled out as a canary under load; an alarm sends it back.
"""

import io
import json
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from botocore.exceptions import ClientError
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODELYARD = str(Path(sys.executable).with_name("modelyard"))
FOLDER = Path(".demo")
NAME = "tumours"
ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
CALLERS = 4
BAD_VERSION = """
import numpy
def model_fn(folder):
    return None
def predict_fn(rows, model):
    if rows[0][0] > 17:
        raise ValueError("this version has never seen so large a tumour")
    return numpy.zeros(len(rows), int)
"""
console = Console(highlight=False, record=True, width=96)


def modelyard(
    *arguments: str, show: bool = True, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run one command as a user would, and show it."""
    if show:
        console.print(
            f"\n[bold green]$[/] [bold]modelyard {' '.join(arguments)}[/]", soft_wrap=True
        )
    finished = subprocess.run([MODELYARD, *arguments], check=False, text=True, capture_output=True)
    if check and finished.returncode != 0:
        sys.exit(finished.stderr)
    return finished


def train() -> tuple[object, np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    half = train_test_split(
        data.data, data.target, test_size=0.5, random_state=7, stratify=data.target
    )
    x_train, x_test, y_train, y_test = half
    model = make_pipeline(
        StandardScaler(), GradientBoostingClassifier(n_estimators=100, random_state=7)
    )
    model.fit(x_train, y_train)
    FOLDER.mkdir(exist_ok=True)
    onnx = to_onnx(model, x_train[:1].astype(np.float32), options={"zipmap": False})
    (FOLDER / "tumours.onnx").write_bytes(onnx.SerializeToString())
    np.savetxt(FOLDER / "patients.csv", x_test, delimiter=",", fmt="%.6g")
    return model, x_test, y_test


def main() -> None:
    console.print(Panel("Modelyard: one model from training to serving and scoring", expand=False))
    console.print("Training gradient boosting on 284 tumours of the Wisconsin breast cancer set …")
    model, x_test, y_test = train()

    if modelyard("status", show=False, check=False).returncode == 0:
        console.print("A platform is running already; the demo uses it.")
    else:
        console.print(modelyard("up", "--detach").stderr.strip())
    begin = time.perf_counter()
    console.print(modelyard("deploy", ".demo/tumours.onnx", "--name", NAME).stdout.splitlines()[0])
    console.print(
        f"[dim]({time.perf_counter() - begin:.1f} s from the file to the first answer's readiness)[/]"
    )

    environment = json.loads(modelyard("env", "--json", show=False).stdout)
    online = ask_online(environment, x_test)
    answers = modelyard("transform", ".demo/patients.csv", ".demo/answers.csv", "--model", NAME)
    console.print(answers.stdout, end="")
    batch = np.loadtxt(FOLDER / "answers.csv", dtype=int)
    expected = model.predict(x_test)  # type: ignore[attr-defined]
    show_results(y_test, expected=expected, online=online, batch=batch)
    if not (np.array_equal(online, batch) and accuracy_score(expected, batch) > 0.99):
        sys.exit("The platform's answers differ from the model's own.")
    second_act(environment, x_test)
    console.print(
        Panel(
            "\n".join(
                (
                    "export PATH=$PWD/.venv/bin:$PATH",
                    "modelyard status",
                    f"modelyard invoke {NAME} --body @.demo/patients.csv",
                    f"modelyard rollout report {NAME}",
                    "eval $(modelyard env)     # now boto3, aws and the SDK use it:",
                    "aws sagemaker list-endpoints",
                    "modelyard down",
                )
            ),
            title="The platform is running. Next, try",
            title_align="left",
            expand=False,
        )
    )


def ask_online(environment: dict[str, str], rows: np.ndarray) -> np.ndarray:
    """One request a patient through boto3, as an application would send them."""
    console.print(
        "\n[bold green]>>>[/] [bold]boto3.client('sagemaker-runtime').invoke_endpoint(…)[/]  for each patient"
    )
    runtime = client(environment, "sagemaker-runtime")
    answers, times = [], []
    for row in rows:
        begin = time.perf_counter()
        answer = runtime.invoke_endpoint(
            EndpointName=NAME,
            ContentType="application/json",
            Body=json.dumps({"instances": [[float(f"{value:.6g}") for value in row]]}),
        )
        answers.append(json.load(answer["Body"])["predictions"][0])
        times.append(time.perf_counter() - begin)
    console.print(
        f"{len(answers)} answers, median {np.median(times) * 1e3:.1f} ms each as boto3 sees it, most of it boto3's own."
    )
    return np.array(answers)


def client(environment: dict[str, str], service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


def show_results(
    truth: np.ndarray, *, expected: np.ndarray, online: np.ndarray, batch: np.ndarray
) -> None:
    table = Table(
        title="\n285 tumours that the model had not seen",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for column in ("answered by", "accuracy", "equal to the model in this process"):
        table.add_column(column)
    for name, answers in (
        ("model in this process", expected),
        ("online, one by one", online),
        ("batch transform", batch),
    ):
        table.add_row(
            name, f"{accuracy_score(truth, answers):.1%}", f"{np.mean(expected == answers):.1%}"
        )
    console.print(table)


class Clinic(threading.Thread):
    """A caller that asks for one patient after the other, and counts what comes back."""

    def __init__(self, environment: dict[str, str], rows: np.ndarray) -> None:
        super().__init__(daemon=True)
        self.outcomes: Counter[str] = Counter()
        self._runtime = client(environment, "sagemaker-runtime")
        self._rows = rows
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.01):
            row = self._rows[sum(self.outcomes.values()) % len(self._rows)]
            body = ",".join(f"{value:.6g}" for value in row)
            try:
                self._runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Body=body)
                self.outcomes["answered"] += 1
            except ClientError as error:
                self.outcomes[error.response["Error"]["Code"]] += 1


def second_act(environment: dict[str, str], rows: np.ndarray) -> None:
    """A canary of a bad version, under load, that goes back by itself."""
    console.print(
        Panel("Second act: a version that fails now and then, as a canary under load", expand=False)
    )
    config = bad_version(environment)
    dimensions = {"EndpointName": NAME, "VariantName": "AllTraffic", "EndpointConfigName": config}
    client(environment, "cloudwatch").put_metric_alarm(
        AlarmName=config,
        Namespace="AWS/SageMaker",
        MetricName="InvocationModelErrors",
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0.01,
        ComparisonOperator="GreaterThanThreshold",
    )
    console.print(f"[dim]alarm {config}: more than 1 % of the new version's answers are errors[/]")
    clinics = [Clinic(environment, rows) for _ in range(CALLERS)]
    for clinic in clinics:
        clinic.start()
    follow_rollout(client(environment, "sagemaker"), config)
    before = sum((clinic.outcomes for clinic in clinics), Counter())
    time.sleep(1.0)  # so long all are answered by the old version again
    since = sum((clinic.outcomes for clinic in clinics), Counter()) - before
    console.print(
        f"[dim]since then[/]  {since['answered']} requests more, all answered by the old version"
    )
    for clinic in clinics:
        clinic.stop.set()
        clinic.join()
    show_ledger(sum((clinic.outcomes for clinic in clinics), Counter()))


def bad_version(environment: dict[str, str]) -> str:
    """An endpoint config of it; its name."""
    config = f"careless-{int(time.time())}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(BAD_VERSION)
        archive.addfile(member, io.BytesIO(BAD_VERSION.encode()))
    s3, sagemaker = client(environment, "s3"), client(environment, "sagemaker")
    s3.create_bucket(Bucket=config)
    s3.put_object(Bucket=config, Key="model.tar.gz", Body=packed.getvalue())
    url = f"s3://{config}/model.tar.gz"
    container = {"Image": "modelyard/python", "ModelDataUrl": url}
    sagemaker.create_model(ModelName=config, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "AllTraffic", "ModelName": config, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=config, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    return config


def follow_rollout(sagemaker: Any, config: str) -> None:
    """Say what DescribeEndpoint says, whenever it says something new."""
    console.print(
        "[bold green]>>>[/] [bold]boto3.client('sagemaker').update_endpoint(…)[/]  half of the traffic for 300 seconds"
    )
    routing = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        "WaitIntervalInSeconds": 300,
    }
    begin = time.perf_counter()
    sagemaker.update_endpoint(
        EndpointName=NAME,
        EndpointConfigName=config,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing},
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": config}]},
        },
    )
    said = ""
    while said != "InService":
        found = sagemaker.describe_endpoint(EndpointName=NAME)
        pending = found.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
        told = (pending[0].get("VariantStatus") or [{}])[0].get("StatusMessage", "")
        now = "InService" if found["EndpointStatus"] == "InService" else told or said
        if now != said:
            said = now
            words = found.get("FailureReason", "") if now == "InService" else now
            line = Table.grid(padding=(0, 2))
            line.add_row(f"[dim]{time.perf_counter() - begin:8.1f} s[/]", words)
            console.print(line)
        time.sleep(0.05)
    if found["EndpointConfigName"] == config:
        sys.exit("The bad version was promoted.")


def show_ledger(outcomes: Counter[str]) -> None:
    """The callers' own counts beside the rollout's ledger."""
    console.print(
        f"Its {CALLERS} callers saw {outcomes['answered']} answers, "
        f"{outcomes['ModelError']} errors of the bad version, and nothing else."
    )
    deadline = time.monotonic() + 10
    while True:
        shown = modelyard("rollout", "report", NAME, "--json", show=False).stdout
        ledger = json.loads(shown)["rollouts"][-1]
        if ledger["closed"] or time.monotonic() > deadline:
            break
    totals = ledger["totals"]
    table = Table(title="\nThe rollout's ledger", title_justify="left", box=None)
    names = ("accepted", "by the old version", "by the new one", "refused", "lost", "twice")
    for name in names:
        table.add_column(name, justify="right")
    counts = [totals["accepted"], *(totals[fleet]["answered"] for fleet in ("blue", "green"))]
    counts += [sum(totals["refused"].values()), totals["lost"], totals["twice"]]
    table.add_row(*map(str, counts))
    console.print(table)
    if set(outcomes) - {"answered", "ModelError"} or totals["lost"] or totals["twice"]:
        sys.exit(f"Requests were lost: {outcomes} {totals}")


if __name__ == "__main__":
    main()
    if len(sys.argv) > 1:  # The README's picture: python examples/demo.py docs/images/demo.svg
        console.save_svg(sys.argv[1], title="make demo")
