"""Environments of scripts: what makes one another, made once, whole or not at all, and readable reasons."""

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.worker import environments
from modelyard.worker.environments import EnvironmentFailed, Environments, Wanted, wanted

Install = Callable[[], int]


def run_here(install: Install, writable: Path, seconds: float) -> int:
    return install()


def code(folder: Path, requirements: str) -> Path:
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "requirements.txt").write_text(requirements)
    return folder / "code"


def needed(folder: Path, requirements: str, artifact_key: str = "a") -> Wanted:
    found = wanted([code(folder, requirements)], artifact_key=artifact_key)
    assert found is not None
    return found


@pytest.fixture
def local(tmp_path: Path) -> Wanted:
    """A package of one module, with a program, from a folder beside the requirements."""
    wheels = tmp_path / "code" / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "shout-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("shout.py", "def main():\n    print('HEY')\n")
        information = "shout-1.0.dist-info"
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: shout\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{information}/entry_points.txt", "[console_scripts]\nshout = shout:main\n"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    return needed(tmp_path, "# what we need\n--no-index\n--find-links wheels\nshout\n")


def test_the_same_words_are_the_same_environment(tmp_path: Path) -> None:
    first = needed(tmp_path, "numpy>=2\n\n# a comment\npandas\n")
    assert needed(tmp_path, "numpy>=2\npandas", "another").key == first.key
    assert needed(tmp_path, "numpy>=2\npandas==1").key != first.key


@pytest.mark.parametrize("line", ["-r more.txt", "./own", "--find-links wheels", "own @ file:own"])
def test_words_that_name_other_files_belong_to_their_artifact(tmp_path: Path, line: str) -> None:
    assert needed(tmp_path, line, "a").key != needed(tmp_path, line, "b").key


def test_a_file_that_asks_for_nothing_needs_no_environment(tmp_path: Path) -> None:
    assert wanted([tmp_path], artifact_key="a") is None
    assert wanted([code(tmp_path, "\n# nothing yet\n")], artifact_key="a") is None
    (tmp_path / "code" / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(EnvironmentFailed, match="not UTF-8"):
        wanted([tmp_path / "code"], artifact_key="a")


def test_an_environment_holds_its_own_and_shows_the_platforms(
    tmp_path: Path, local: Wanted
) -> None:
    calls = []

    def run(install: Install, writable: Path, seconds: float) -> int:
        calls.append(writable)
        return install()

    made = Environments(tmp_path / "made", run)
    python = made.python(local)
    assert made.python(local) == python
    assert len(calls) == 1, "what is there is not made again"
    finished = subprocess.run(
        [str(python), "-c", "import shout, numpy, modelyard; print(shout.__file__, shout.__cached__)"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    module, compiled = finished.stdout.split()
    assert module.startswith(str(python.parent.parent))
    assert Path(compiled).exists()
    assert bytes(python.parent.parent) in Path(compiled).read_bytes(), (
        "tracebacks name where it lies"
    )
    program = subprocess.run(
        [str(python.with_name("shout"))], capture_output=True, text=True, timeout=60, check=True
    )
    assert program.stdout == "HEY\n"
    assert not os.stat(module).st_mode & 0o222
    assert not list((tmp_path / "made").glob(".*.tmp"))


def test_a_package_beside_the_requirements_is_built_in_a_copy(tmp_path: Path) -> None:
    own = code(tmp_path, "./own\n") / "own"
    own.mkdir()
    (own / "mine.py").write_text("VALUE = 1\n")
    for path in (own, own / "mine.py"):
        path.chmod(0o500)
    work = tmp_path / "work"
    work.mkdir()
    found = wanted([tmp_path / "code"], artifact_key="a")
    assert found is not None and found.is_local
    copy = environments._writable(found, work)
    assert copy.read_text() == found.requirements.read_text()
    assert (copy.parent / "own").stat().st_mode & 0o700 == 0o700
    assert (copy.parent / "own" / "mine.py").read_text() == "VALUE = 1\n"
    own.chmod(0o700)


def test_a_failed_installation_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    made = Environments(tmp_path / "made", run_here)
    with pytest.raises(
        EnvironmentFailed, match=r"code/requirements\.txt could not be installed \(status 1\)"
    ):
        made.python(needed(tmp_path, "--no-index\nno-such-package==1\n"))
    assert [path.name for path in (tmp_path / "made").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "was not installed within 9 s"),
        (OSError(28, "No space left on device"), "No space is left on the disk"),
        (OSError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_what_stops_an_installation_is_named(tmp_path: Path, error: Exception, words: str) -> None:
    def run(install: Install, writable: Path, seconds: float) -> int:
        (writable / "half").touch()
        raise error

    with pytest.raises(EnvironmentFailed, match=words):
        Environments(tmp_path / "made", run, seconds=9).python(needed(tmp_path, "x"))
    assert not list((tmp_path / "made").glob("*/half"))
    assert not list((tmp_path / "made").glob(".*/half"))


def test_a_builder_that_was_killed_is_followed_by_another(tmp_path: Path, local: Wanted) -> None:
    root = tmp_path / "made"
    pid = os.fork()
    if pid == 0:

        def die(install: Install, writable: Path, seconds: float) -> int:
            (writable / "half").touch()
            os._exit(9)

        Environments(root, die).python(local)
    os.waitpid(pid, 0)
    assert list(root.glob(".*.tmp/half")), "it died half-way"
    python = Environments(root, run_here).python(local)
    assert python.exists()
    assert not list(root.glob(".*.tmp"))


def test_a_builder_that_was_killed_before_the_rename_left_nothing_that_is_used(
    tmp_path: Path, local: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, places = tmp_path / "made", {"environment.before-rename"}
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(
            environments, "failpoint", lambda name: os._exit(9 if name in places else 8)
        )
        Environments(root, run_here).python(local)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert list(root.glob(".*.tmp"))
    assert Environments(root, run_here).python(local).exists()
    assert not list(root.glob(".*.tmp"))


def test_two_at_once_make_one(tmp_path: Path, local: Wanted) -> None:
    root, count = tmp_path / "made", tmp_path / "count"

    def run(install: Install, writable: Path, seconds: float) -> int:
        with count.open("a") as file:
            file.write("x")
        return install()

    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if Environments(root, run).python(local).exists() else 1
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert count.read_text() == "x"


def test_only_what_nobody_uses_is_removed(
    tmp_path: Path, local: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "KEPT", 0)
    root = tmp_path / "made"
    for key in ("used", "unused"):
        (root / key / "bin").mkdir(parents=True)
        (root / f".lock-{key}").touch()
    with (root / ".lock-used").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        Environments(root, run_here).python(local)
        assert (root / "used").exists()
        assert not (root / "unused").exists()
        assert (root / local.key).exists()


def test_what_was_begun_by_who_was_killed_goes_though_nobody_wants_it_any_more(
    tmp_path: Path, local: Wanted
) -> None:
    root = tmp_path / "made"
    for key in ("killed", "busy"):
        (root / f".{key}.tmp" / "half").mkdir(parents=True)
        (root / f".lock-{key}").touch()
    with (root / ".lock-busy").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Environments(root, run_here).python(local)
    assert [path.name for path in root.glob(".*.tmp")] == [".busy.tmp"]


def test_what_another_has_removed_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that have installed something at the same time sweep the same."""
    monkeypatch.setattr(environments, "KEPT", 0)
    for key in ("one", "two"):
        (tmp_path / key).mkdir()
        (tmp_path / f".lock-{key}").touch()
    lock = fcntl.flock

    def after_another(file: Any, operation: int) -> None:
        for key in ("one", "two"):
            shutil.rmtree(tmp_path / key, ignore_errors=True)
        lock(file, operation)

    monkeypatch.setattr(environments.fcntl, "flock", after_another)
    Environments(tmp_path, run_here)._sweep()


def test_pip_is_what_reads_the_users_configuration() -> None:
    command = environments._command(Path(sys.executable), Path("r.txt"))
    assert command[1:4] == ["-m", "pip", "install"]
