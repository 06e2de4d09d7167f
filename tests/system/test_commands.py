"""The commands, as a person types them."""

import configparser
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.settings import Home
from modelyard.cli.platform import connect
from modelyard.testing.losses import wait_for, workers
from modelyard.testing.platform import command, running_platform, start, stop


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("commands") / "home"
    with running_platform(home):
        yield home


def test_a_model_goes_from_a_file_to_answers_and_away(
    home: Path, booster: Any, tmp_path: Path
) -> None:
    deployed = command("deploy", str(booster.archive), "--name", "d", "--count", "2", home=home)
    assert deployed.returncode == 0, deployed.stderr
    assert "Endpoint d is InService" in deployed.stdout
    asked = command("invoke", "d", "--body", f"@{booster.csv}", home=home)
    assert len(asked.stdout.split()) == len(booster.rows)
    piped = command("invoke", "d", "--body", "-", home=home, stdin=booster.csv.read_text())
    assert piped.stdout == asked.stdout
    target = tmp_path / "answers.csv"
    transformed = command("transform", str(booster.csv), str(target), "--model", "d", home=home)
    assert transformed.returncode == 0, transformed.stderr
    assert target.read_text() == asked.stdout
    listed = json.loads(command("list", "--json", home=home).stdout)
    assert [e["EndpointName"] for e in listed["Endpoints"]] == ["d"]
    assert [j["TransformJobStatus"] for j in listed["TransformJobs"]] == ["Completed"]
    logs = command("logs", "d", home=home)
    assert "ready in" in logs.stdout
    chosen = command("logs", "d", "--filter", '"ready in" -nothing', home=home)
    assert "ready in" in chosen.stdout
    none = command("logs", "d", "--filter", "{ $.level = ERROR }", home=home)
    assert "No line of d that matches is kept." in none.stderr
    again = command("deploy", str(booster.archive), "--name", "d", home=home)
    assert again.returncode == 0, again.stderr
    gone = command("delete", "d", home=home)
    assert gone.returncode == 0, gone.stderr
    assert json.loads(command("list", "--json", home=home).stdout)["Endpoints"] == []


def test_a_command_that_cannot_do_it_says_what_to_do(home: Path, tmp_path: Path) -> None:
    missing = command("deploy", str(tmp_path / "nothing.onnx"), "--name", "x", home=home)
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(b"nothing")
    failed = command("deploy", str(corrupt), "--name", "corrupt", home=home)
    assert failed.returncode == 1
    assert "onnxruntime" in failed.stderr
    assert "modelyard logs corrupt" in failed.stderr
    unknown = command("invoke", "nobody", "--body", "1", home=home)
    assert unknown.returncode == 1
    assert "Endpoint nobody of account 123456789012 not found." in unknown.stderr
    nowhere = command("list", home=tmp_path / "no-home")
    assert nowhere.returncode == 1
    assert "modelyard up" in nowhere.stderr


def test_the_environment_is_ready_for_a_shell(home: Path) -> None:
    printed = command("env", home=home).stdout
    shell = subprocess.run(
        ["sh", "-c", f"{printed}\nenv"], capture_output=True, text=True, check=True, env={}
    ).stdout
    wanted = json.loads(command("env", "--json", home=home).stdout)
    assert wanted.keys() >= {
        "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"
    }  # fmt: skip
    for name, value in wanted.items():
        assert f"{name}={value}\n" in shell


def test_configure_writes_a_profile_and_leaves_the_others(home: Path, tmp_path: Path) -> None:
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text("[default]\nregion = eu-west-1\n")
    files = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.cli.main", "configure", "--home", str(home)],
        env={**os.environ, **files},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parser = configparser.RawConfigParser()
    parser.read(config)
    assert parser["default"]["region"] == "eu-west-1"
    assert parser["profile modelyard"]["endpoint_url"].startswith("http://127.0.0.1:")
    assert credentials.stat().st_mode & 0o777 == 0o600


def test_the_secret_is_in_one_file_and_in_no_log(home: Path) -> None:
    secret = json.loads(Home(home).credentials.read_text())["secret_access_key"]
    assert Home(home).credentials.stat().st_mode & 0o777 == 0o600
    for path in (home / "logs").rglob("*.log"):
        assert secret not in path.read_text(errors="replace"), path


def test_a_second_platform_on_the_home_or_the_port_is_refused(home: Path, tmp_path: Path) -> None:
    again = command("up", "--detach", "--port", "0", home=home)
    assert again.returncode == 1
    assert "running on" in again.stderr
    foreground = command("up", "--port", "0", home=home)
    assert foreground.returncode == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = command("up", "--detach", "--port", port, home=tmp_path / "other")
    assert refused.returncode == 1
    assert "--port" in refused.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--no-auth", "--host", "0.0.0.0"), "loopback"),
        (("--host", "0.0.0.0"), "--insecure"),
        (("--account", "12"), "12 digits"),
        (("--tls-cert", "cert.pem"), "go together"),
    ],
)
def test_an_unsafe_start_is_refused(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    refused = command("up", "--detach", "--port", "0", *options, home=tmp_path / "home")
    assert refused.returncode == 1
    assert words in refused.stderr


def test_status_tells_up_from_down(home: Path, tmp_path: Path) -> None:
    up = command("status", "--json", home=home)
    assert up.returncode == 0
    status = json.loads(up.stdout)
    assert status["state"] == "running"
    names = {process["name"] for process in status["processes"]}
    assert names >= {"supervisor", "gateway-0", "control", "objects", "host"}
    down = command("status", "--json", home=tmp_path / "nothing")
    assert (down.returncode, json.loads(down.stdout)["state"]) == (3, "down")


def test_a_backup_of_a_running_platform_comes_back_elsewhere(booster: Any, tmp_path: Path) -> None:
    first, second, saved = tmp_path / "first", tmp_path / "second", tmp_path / "saved.tar"
    with running_platform(first) as platform:
        platform.client("comprehend").detect_dominant_language(Text="Where is the station, please?")
        deployed = command("deploy", str(booster.archive), "--name", "kept", home=first)
        assert deployed.returncode == 0, deployed.stderr
        answer = command("invoke", "kept", "--body", f"@{booster.csv}", home=first).stdout
        done = command("backup", str(saved), home=first)
        assert done.returncode == 0, done.stderr
    assert saved.stat().st_mode & 0o777 == 0o600
    restored = command("restore", str(saved), home=second)
    assert restored.returncode == 0, restored.stderr
    start(second)
    try:
        waited = command("deploy", str(booster.archive), "--name", "other", home=second)
        assert waited.returncode == 0, waited.stderr
        assert command("invoke", "kept", "--body", f"@{booster.csv}", home=second).stdout == answer
        assert "DetectDominantLanguage" in command("usage", home=second).stdout
    finally:
        stop(second)
    occupied = command("restore", str(saved), home=first)
    assert occupied.returncode == 1
    assert "Move it away" in occupied.stderr


def test_reset_empties_a_running_platform(home: Path, booster: Any) -> None:
    assert command("deploy", str(booster.archive), "--name", "r", home=home).returncode == 0
    assert command("reset", "--yes", home=home).returncode == 0
    assert json.loads(command("list", "--json", home=home).stdout) == {
        "Endpoints": [],
        "TransformJobs": [],
    }
    wait_for(lambda: workers(connect(home)) == [], "the end of its workers")
    assert command("deploy", str(booster.archive), "--name", "r", home=home).returncode == 0


def test_help_shows_every_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "modelyard.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in ("up", "down", "status", "deploy", "invoke", "transform", "logs", "list", "delete",
                 "env", "configure", "run", "reset", "backup", "restore"):  # fmt: skip
        assert f" {name} " in shown
