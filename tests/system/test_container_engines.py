"""Real images by an engine's command line: against one that stands in, and against podman where it works."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.runtimes.engines import Engines
from modelyard.testing.platform import running_platform

SECONDS = 120.0
PROGRAMS = Path(__file__).parent / "programs"
ROLE = "arn:aws:iam::123456789012:role/R"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of programs that is first on the path. Nothing that was started from it is left at the end."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("docker", "serve"):
        shutil.copy(PROGRAMS / name, folder / name)
    shutil.copy(PROGRAMS / "docker", folder / "podman")
    (folder / "state").mkdir()
    (folder / "state" / "up").touch()
    yield folder
    assert running_from(folder) == []


def running_from(folder: Path) -> list[str]:
    """The command lines of this machine's processes that name ``folder``."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if str(folder) in line]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, tools: Path) -> Iterator[Platform]:
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    home = tmp_path_factory.mktemp("engines") / "home"
    with running_platform(home, environment={"PATH": path}) as platform:
        yield platform


def upload(platform: Platform, folder: Path) -> str:
    (folder / "files").mkdir()
    (folder / "files" / "factor.txt").write_text("3")
    archive = shutil.make_archive(str(folder / "model"), "gztar", folder / "files")
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="engine-tests")
    s3.put_object(Bucket="engine-tests", Key="model.tar.gz", Body=Path(archive).read_bytes())
    return "s3://engine-tests/model.tar.gz"


def deploy(platform: Platform, name: str, image: str, model: str, **changes: Any) -> Any:
    sagemaker = platform.client("sagemaker")
    container = {
        "Image": image,
        "ModelDataUrl": model,
        "Environment": {"COLOUR": "blue", "LINES": "a\nb", "DOCKER_HOST": "nowhere"},
    }
    sagemaker.create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, **changes
    )
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return settled(platform, name)


def settled(platform: Platform, name: str) -> Any:
    deadline = time.monotonic() + SECONDS
    sagemaker = platform.client("sagemaker")
    while (said := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "Creating":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return said


def ask(platform: Platform, name: str, body: str) -> bytes:
    runtime = platform.client("sagemaker-runtime")
    answer: bytes = runtime.invoke_endpoint(EndpointName=name, Body=body)["Body"].read()
    return answer


def worker_pids(platform: Platform) -> list[int]:
    listed = json.loads(platform.own_call("GET", "/_modelyard/status"))["processes"]
    return [one["pid"] for one in listed if one["state"] == "ready"]


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


def test_an_image_is_run_with_its_limits_and_its_environment(
    platform: Platform, tools: Path, tmp_path: Path
) -> None:
    model = upload(platform, tmp_path)
    said = deploy(platform, "triple", "fake/triple:1", model)
    assert said["EndpointStatus"] == "InService", said.get("FailureReason")
    assert ask(platform, "triple", "14") == b"42.0"
    assert ask(platform, "triple", "environment COLOUR") == b"blue"
    assert ask(platform, "triple", "environment LINES") == b"a\nb"
    options = dict(json.loads(ask(platform, "triple", "environment FAKE_OPTIONS")))
    assert options["--memory"] == str(8 << 30)
    assert options["--cpus"] == "2"
    assert options["--security-opt"] == "no-new-privileges"

    (before,) = containers(tools)
    (pid,) = worker_pids(platform)
    os.kill(pid, signal.SIGKILL)  # The container outlives its bridge; the next bridge removes it.
    eventually(lambda: worker_pids(platform) not in ([pid], []), "a new worker")
    assert ask(platform, "triple", "14") == b"42.0"
    (after,) = containers(tools)
    assert before != after

    platform.client("sagemaker").delete_endpoint(EndpointName="triple")
    eventually(lambda: containers(tools) == [], "the container's end")


def containers(tools: Path) -> list[str]:
    return [record.name for record in (tools / "state").iterdir() if record.name != "up"]


def test_an_image_that_is_not_there_fails_with_the_engines_words(platform: Platform) -> None:
    said = deploy(platform, "missing", "nobody/knows:7", "s3://engine-tests/model.tar.gz")
    assert said["EndpointStatus"] == "Failed"
    assert "no such image: nobody/knows:7" in said["FailureReason"]
    with pytest.raises(ClientError):
        ask(platform, "missing", "1")


def test_a_client_without_its_daemon_is_no_engine(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name in ("docker", "podman"):
        shutil.copy(tools / name, tmp_path / name)
    now = 0.0
    engines = Engines(path=f"{tmp_path}", now=lambda: now)
    assert "docker does not work here (Error: Cannot connect" in engines.find().reason
    (tmp_path / "state" / "up").touch()
    assert engines.find().command == "", "what was found is remembered for a while"
    now = 60.0
    assert engines.find().command == str(tmp_path / "podman")
    assert Engines(path=str(tmp_path / "empty")).find().reason == (
        "neither podman nor docker is installed"
    )


# ---- podman itself


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of this system's Python, made here: nothing is pulled."""
    podman = shutil.which("podman")
    python = shutil.which("python3", path="/usr/bin")
    if podman is None or python is None:
        pytest.skip("podman or the system's Python is not installed")
    folder = tmp_path_factory.mktemp("image")
    archive = folder / "root.tar"
    _pack_python(Path(python).resolve(), archive)
    name = f"localhost/modelyard-test:{os.getpid()}"
    subprocess.run([podman, "import", archive, name], check=True, capture_output=True, timeout=120)
    tried = subprocess.run(
        [podman, "run", "--rm", "--network", "none", name, "python3", "-c", "print(1)"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if tried.returncode == 0:
        yield name
    subprocess.run([podman, "rmi", "--force", name], check=False, capture_output=True, timeout=120)
    if tried.returncode != 0:
        pytest.skip(f"podman does not run containers here: {tried.stderr.strip()[-200:]}")


def _pack_python(python: Path, target: Path) -> None:
    library = Path("/usr/lib") / python.name
    programs = [python, Path("/usr/bin/env"), *library.glob("lib-dynload/*.so")]
    needed = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        needed |= {word for word in listed.stdout.split() if word.startswith("/")}
    with tarfile.open(target, "w") as archive:
        for folder in ("tmp", "proc", "sys", "dev", "etc", "opt/ml/model"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for path in sorted(needed):
            archive.add(os.path.realpath(path), arcname=path)
        archive.add(python, arcname="usr/bin/python3")
        archive.add("/usr/bin/env", arcname="usr/bin/env")
        archive.add(PROGRAMS / "serve", arcname="usr/bin/serve")
        archive.add(
            library,
            arcname=str(library),
            filter=lambda member: None if "/test" in member.name else member,
        )


def test_podman_serves_with_a_network_and_without(image: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name == "CONTAINERS_CONF"}
    with running_platform(tmp_path / "home", environment=kept) as platform:
        model = upload(platform, tmp_path)
        for name, alone in (("with", False), ("without", True)):
            said = deploy(platform, name, image, model, EnableNetworkIsolation=alone)
            assert said["EndpointStatus"] == "InService", said.get("FailureReason")
            assert ask(platform, name, "14") == b"42.0"
            platform.client("sagemaker").delete_endpoint(EndpointName=name)
        eventually(lambda: worker_pids(platform) == [], "the workers' end")
