"""A program's ports, environment, command line and end."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from modelyard.domain.images import Program, program_of
from modelyard.worker import container
from modelyard.worker.program import (
    BLOCK,
    NoPort,
    Running,
    command_of,
    describe_end,
    environment_of,
    own_ports,
    shared_ports,
)


def test_blocks_of_ports_never_collide_and_are_free_again() -> None:
    held = [shared_ports() for _ in range(5)]
    assert len({one.port for one in held}) == 5
    first = held[0].port
    with pytest.raises(NoPort):
        shared_ports(first, first + BLOCK)
    for one in held:
        assert one.held is not None
        one.held.close()
    again = shared_ports(first, first + BLOCK)
    assert again.port == first
    assert again.safe_range == f"{first + 1}-{first + BLOCK - 2}"
    assert again.held is not None
    again.held.close()


def test_a_port_of_a_stranger_is_left_alone() -> None:
    found = shared_ports()
    assert found.held is not None
    found.held.close()
    with socket.create_server(("127.0.0.1", found.port)), pytest.raises(NoPort):
        shared_ports(found.port, found.port + BLOCK)


def test_a_program_ends_with_its_worker_however_that_ends() -> None:
    """Where it is not isolated nobody else would ever end it."""
    script = (
        "import time; from modelyard.worker.program import Running\n"
        "running = Running(['sleep', '600'], folder='', environment={'PATH': '/usr/bin:/bin'})\n"
        "print(running.pid, flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    program = os.pidfd_open(int(worker.stdout.readline()))
    try:
        worker.kill()
        worker.wait()
        worker.stdout.close()
        assert select.select([program], [], [], 5)[0]
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(program, signal.SIGKILL)
        os.close(program)


def test_the_platforms_words_are_the_last(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    program = Program(name="p", environment={"A": "image", "B": "image"})
    found = environment_of(
        program,
        own_ports(),
        {"B": "model", "SAGEMAKER_BIND_TO_PORT": "1"},
        folder=str(tmp_path),
        model="/opt/ml/model",
    )
    assert (found["A"], found["B"]) == ("image", "model")
    assert found["SAGEMAKER_BIND_TO_PORT"] == "8080"
    assert found["PATH"].split(os.pathsep)[:2] == [str(tmp_path), str(tmp_path / ".venv" / "bin")]


def test_a_word_is_a_program_where_an_image_has_no_command(tmp_path: Path) -> None:
    (tmp_path / "serve").touch(mode=0o755)
    assert command_of(Program(name="p"), "serve", str(tmp_path)) == [str(tmp_path / "serve")]
    command = Program(name="p", command=("python", "-m", "server"))
    assert command_of(command, "serve", "")[1:] == ["-m", "server", "serve"]


def test_a_local_image_is_matched_by_its_repository() -> None:
    programs = {"team/trees": Program(name="team/trees")}
    uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/trees@sha256:00"
    assert program_of(uri, programs) is programs["team/trees"]
    assert program_of("trees:latest", programs) is None


@pytest.mark.parametrize(
    ("script", "said"),
    [("exit 3", "exited with status 3"), ("kill -9 $$", "was killed by SIGKILL")],
)
def test_the_end_of_a_program_is_described(script: str, said: str) -> None:
    running = Running(["/bin/sh", "-c", script], folder="", environment={"PATH": "/bin:/usr/bin"})
    assert said in describe_end(running.wait())
    os.close(running.pidfd)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("trap", "said"),
    [("exit 5", "exited with status 5"), ("", "was killed by SIGKILL")],
)
async def test_a_program_is_asked_to_stop_and_killed_if_it_does_not(
    trap: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "STOP_SECONDS", 0.3 if not trap else 30.0)
    script = f"trap '{trap}' TERM; touch ready; while :; do sleep 0.05; done"
    running = Running(
        ["/bin/sh", "-c", script], folder=str(tmp_path), environment={"PATH": "/bin:/usr/bin"}
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(running.pidfd, ended.set)
    async with asyncio.timeout(20):
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.01)
        assert said in describe_end(await container.end_program(running, ended))
    asyncio.get_running_loop().remove_reader(running.pidfd)
    os.close(running.pidfd)
