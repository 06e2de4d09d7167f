"""The tour that ``make demo`` gives: train a model on real data, serve it, ask it, score a file with it.

The data are the 569 tumours of the Wisconsin breast cancer set, which scikit-learn carries. Half train the model, half
are scored by the platform, online and in batch, and compared with what the model says in this process.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import boto3
import numpy as np
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
    console.print(
        Panel(
            "\n".join(
                (
                    "export PATH=$PWD/.venv/bin:$PATH",
                    "modelyard status",
                    f"modelyard invoke {NAME} --body @.demo/patients.csv",
                    f"modelyard logs {NAME}",
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
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
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


if __name__ == "__main__":
    main()
    if len(sys.argv) > 1:  # The README's picture: python examples/demo.py docs/images/demo.svg
        console.save_svg(sys.argv[1], title="make demo")
