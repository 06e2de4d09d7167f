"""The SageMaker SDK 2.x in breadth, unmodified, under ``modelyard run``: formats, updates, pipelines, scripts."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
SCRIPTS = Path(__file__).parent / "scripts"


def _run(platform: Platform, clients: Path, home: Path, script: str, *arguments: str) -> str:
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "modelyard.cli.main", "run"),
            *("--home", str(platform.home.root), "--"),
            *(str(clients / "sagemaker-2/bin/python"), str(SCRIPTS / script), *arguments),
        ],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    return finished.stdout


def _arithmetic(folder: Path, operator: str, value: float) -> str:
    """The archive of an ONNX model of one column that adds or multiplies."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constant = numpy_helper.from_array(np.array([value], np.float32), "value")
    node = helper.make_node(operator, ["x", "value"], ["y"])
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1])] for name in ("x", "y")
    ]
    graph = helper.make_graph([node], "arithmetic", *ends, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / f"{operator}.onnx")
    archive = folder / f"{operator}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / f"{operator}.onnx", "model.onnx")
    return str(archive)


def test_every_format_an_update_and_a_pipeline_work_through_sdk_2(
    platform: Platform, booster: Any, clients_folder: Path, tmp_path: Path
) -> None:
    said = _run(
        platform,
        clients_folder,
        tmp_path,
        "sagemaker_sdk_2_breadth.py",
        *(str(booster.archive), str(booster.csv)),
        *(_arithmetic(tmp_path, "Add", 0.1), _arithmetic(tmp_path, "Mul", 3.0), ROLE),
    )
    assert "SDK 2: every format, an update, a pipeline and its batch job" in said


def test_models_with_scripts_are_served_through_sdk_2(
    platform: Platform, booster: Any, clients_folder: Path, tmp_path: Path
) -> None:
    import joblib
    from sklearn.linear_model import Ridge

    model = Ridge().fit(booster.rows, booster.expected)
    joblib.dump(model, tmp_path / "model.joblib")
    archive = tmp_path / "sklearn.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "model.joblib", "model.joblib")
    (tmp_path / "rows.csv").write_bytes(booster.csv.read_bytes())
    np.save(tmp_path / "sklearn.npy", model.predict(booster.rows))
    np.save(tmp_path / "booster.npy", booster.expected)
    said = _run(
        platform,
        clients_folder,
        tmp_path,
        "sagemaker_sdk_2_scripts.py",
        *(str(tmp_path), str(archive), str(booster.archive), ROLE),
    )
    assert "SDK 2: scripts for scikit-learn, XGBoost and PyTorch" in said


def test_four_projects_go_from_script_to_endpoint_to_transform_to_their_end_through_sdk_2(
    torch_platform: Platform, projects: Any, clients_folder: Path, tmp_path: Path
) -> None:
    for project in projects:
        project.write(tmp_path / project.name)
    said = _run(
        torch_platform,
        clients_folder,
        tmp_path,
        "sagemaker_sdk_2_projects.py",
        *(str(tmp_path), str(projects[0].sources.parent), ROLE),
    )
    assert "SDK 2: four projects, from script to endpoint, batch job and end" in said
