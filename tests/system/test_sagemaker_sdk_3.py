"""The SageMaker SDK 3.x, unmodified, under ``modelyard run``: its resources, and its ModelBuilder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
SCRIPTS = Path(__file__).parent / "scripts"


def _run(platform: Platform, clients: Path, home: Path, script: str, *arguments: str) -> str:
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "modelyard.cli.main", "run"),
            *("--home", str(platform.home.root), "--"),
            *(str(clients / "sagemaker-3/bin/python"), str(SCRIPTS / script), *arguments),
        ],
        env={**os.environ, "HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    return finished.stdout


def test_the_resources_of_sdk_3_are_created_awaited_asked_updated_and_deleted(
    platform: Platform, booster: Any, clients_folder: Path, tmp_path: Path
) -> None:
    said = _run(
        platform,
        clients_folder,
        tmp_path,
        "sagemaker_sdk_3.py",
        *(str(booster.archive), str(booster.csv), ROLE),
    )
    assert "SDK 3: deployed, predicted, updated, transformed, deleted" in said


def test_the_model_builder_of_sdk_3_builds_deploys_and_transforms(
    platform: Platform, booster: Any, clients_folder: Path, tmp_path: Path
) -> None:
    said = _run(
        platform,
        clients_folder,
        tmp_path,
        "sagemaker_sdk_3_builder.py",
        *(str(booster.archive), str(booster.csv), ROLE, str(tmp_path / "sources")),
    )
    assert "ModelBuilder: built, deployed, asked, transformed, with a script too" in said


def test_four_projects_go_from_script_to_endpoint_to_transform_to_their_end_through_sdk_3(
    torch_platform: Platform, projects: Any, clients_folder: Path, tmp_path: Path
) -> None:
    for project in projects:
        project.write(tmp_path / project.name)
    said = _run(
        torch_platform,
        clients_folder,
        tmp_path,
        "sagemaker_sdk_3_projects.py",
        *(str(tmp_path), str(projects[0].sources.parent), ROLE),
    )
    assert "SDK 3: four projects, from script to endpoint, batch job and end" in said
