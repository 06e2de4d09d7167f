"""Scoring a CSV file: Modelyard's transform job and the usual ways, each in a process of its own, outputs compared."""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import environments
from benchmarks.models import FEATURES, Case, WrongAnswer
from modelyard.testing.platform import running_platform

SCRIPTS = Path(__file__).parent / "servers"
BLOCK = 50_000
LOOK_SECONDS = 0.25
"""Between two looks at memory, each of which takes 10 ms of a processor from those that are measured."""
Run = Callable[[Case, Path, Path], "Measured"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of the work itself (a platform or a cluster is up before), and the peak of its largest process."""

    seconds: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """A system's medians over its runs."""

    system: str
    rows: int
    seconds: float
    peak_mib: float
    runs: int


def make_rows(folder: Path, rows: int) -> Path:
    """A seeded CSV of numbers with four decimals, made once."""
    path = folder / f"rows-{rows}.csv"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    temporary = path.with_suffix(".part")
    with temporary.open("w") as file:
        for start in range(0, rows, BLOCK):
            block = random.normal(1.0, 0.5, (min(BLOCK, rows - start), FEATURES))
            np.savetxt(file, block, fmt="%.4f", delimiter=",")
    temporary.rename(path)
    return path


def systems() -> dict[str, Run]:
    """In the order in which they are shown; Spark where there is a Java."""
    found = {
        "modelyard": _modelyard,
        "pandas chunks": _script("batch_pandas.py", sys.executable),
        "pyarrow + onnxruntime": _script("batch_pyarrow.py", sys.executable),
        "Ray Data": _peer("ray"),
    }
    if shutil.which("java") is not None:
        found["Spark"] = _peer("spark")
    return found


def _peer(name: str) -> Run:
    """In an environment of its own, which is made when it is first asked for."""

    def run(case: Case, rows: Path, output: Path) -> Measured:
        return _script(f"batch_{name}.py", str(environments.python_of(name)))(case, rows, output)

    return run


def compare(
    case: Case, folder: Path, rows: int, only: Sequence[str], rounds: int, console: Console
) -> list[Result]:
    """Run each in turn, ``rounds`` times. Raises ``WrongAnswer`` if one's output is not the first one's."""
    path = make_rows(folder, rows)
    every = systems()
    names = list(only) or list(every)
    measured: dict[str, list[Measured]] = defaultdict(list)
    reference: np.ndarray | None = None
    for number in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory(prefix="bench-") as work:
                output = Path(work) / "out.csv"
                found = every[name](case, path, output)
                scores = np.loadtxt(output, ndmin=1)
            if reference is None:
                reference = scores
            if scores.shape != (rows,) or not np.allclose(scores, reference, rtol=1e-4, atol=1e-6):
                raise WrongAnswer(f"{name} wrote other scores than {names[0]}")
            measured[name].append(found)
            console.print(f"round {number + 1}: {name} {found.seconds:.2f} s")
    return [
        Result(
            system=name,
            rows=rows,
            seconds=statistics.median(one.seconds for one in runs),
            peak_mib=max(one.peak_mib for one in runs),
            runs=len(runs),
        )
        for name, runs in measured.items()
    ]


def _script(name: str, python: str) -> Run:
    def run(case: Case, rows: Path, output: Path) -> Measured:
        done = subprocess.run(
            [python, str(SCRIPTS / name), str(case.path), str(rows), str(output)],
            check=True, text=True, capture_output=True, timeout=900,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        return Measured(seconds=found["seconds"], peak_mib=found["peak_kib"] / 1024)

    return run


def _modelyard(case: Case, rows: Path, output: Path) -> Measured:
    with running_platform(output.parent / "home") as platform:
        environment = {**os.environ, "MODELYARD_HOME": str(output.parent / "home")}
        s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
        s3.create_bucket(Bucket="bench")
        with rows.open("rb") as file:
            s3.put_object(Bucket="bench", Key="in/rows.csv", Body=file)
        s3.put_object(Bucket="bench", Key="model.onnx", Body=case.path.read_bytes())
        sagemaker.create_model(
            ModelName="bench",
            PrimaryContainer={"Image": "modelyard/python", "ModelDataUrl": "s3://bench/model.onnx"},
            ExecutionRoleArn="arn:aws:iam::123456789012:role/ModelyardExecutionRole",
        )
        began = time.monotonic()
        sagemaker.create_transform_job(
            TransformJobName="bench",
            ModelName="bench",
            TransformInput={
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bench/in/"}
                },
                "ContentType": "text/csv",
                "SplitType": "Line",
            },
            TransformOutput={
                "S3OutputPath": "s3://bench/out/",
                "Accept": "text/csv",
                "AssembleWith": "Line",
            },
            BatchStrategy="MultiRecord",
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
        peak, look_at = 0.0, began
        while (job := sagemaker.describe_transform_job(TransformJobName="bench"))[
            "TransformJobStatus"
        ] == "InProgress":
            if time.monotonic() >= look_at:
                peak = max(peak, _job_memory(environment["MODELYARD_HOME"]))
                look_at = time.monotonic() + LOOK_SECONDS
            time.sleep(0.05)
        seconds = time.monotonic() - began
        if job["TransformJobStatus"] != "Completed":
            raise RuntimeError(
                f"The job has {job['TransformJobStatus']}: {job.get('FailureReason')}"
            )
        with output.open("wb") as file:
            for piece in s3.get_object(Bucket="bench", Key="out/rows.csv.out")["Body"]:
                file.write(piece)
    return Measured(seconds=seconds, peak_mib=peak)


def _job_memory(home: str) -> float:
    """Resident MiB of the job's processes and its workers together: the host's children."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if home.encode() in (entry / "cmdline").read_bytes():
                    lines = (entry / "smaps_rollup").read_text().splitlines()
                    total += next(int(x.split()[1]) for x in lines if x.startswith("Pss:"))
            except OSError:
                continue
    return total / 1024


def table(found: Sequence[Result]) -> Table:
    """Rows per second, and each as a multiple of the slowest."""
    shown = Table(title="batch", title_justify="left")
    for heading in ("system", "seconds", "rows/s", "of pandas chunks", "peak MiB"):
        shown.add_column(heading, justify="left" if heading == "system" else "right")
    base = next((one.seconds for one in found if one.system == "pandas chunks"), None)
    for one in found:
        shown.add_row(
            one.system,
            f"{one.seconds:.2f}",
            f"{one.rows / one.seconds:,.0f}",
            f"{base / one.seconds:.2f}" if base else "",
            f"{one.peak_mib:,.0f}",
        )
    return shown


def write_json(path: Path, found: Sequence[Result]) -> None:
    path.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


def own_peak_kib() -> int:
    """Of this process, for the scripts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
