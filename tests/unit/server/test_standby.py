"""Who stands by: what counts as a sign of life, and who is ended."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.base.settings import Home, Settings
from modelyard.runtimes.records import start_time
from modelyard.server import standby
from modelyard.server.process import Start
from modelyard.store.lease import Holder, Lease, read_holder


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_process_that_holds_the_lease_is_ended(process: subprocess.Popen[bytes]) -> None:
    standby.end(Holder("control", process.pid, start_time(process.pid) or 0))
    assert process.wait(60) == -9


def test_who_got_its_number_since_is_left_alone(process: subprocess.Popen[bytes]) -> None:
    standby.end(Holder("control", process.pid, 1))
    assert process.poll() is None


def test_an_answer_is_a_sign_of_life_and_silence_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "ANSWER_SECONDS", 0.05)
    path = tmp_path / "control.sock"
    assert not standby.answers(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert not standby.answers(path)  # It accepts, as the kernel does for who hangs.

        def answer() -> None:
            for _ in range(2):  # The first has given up by now.
                with listener.accept()[0] as connection, contextlib.suppress(OSError):
                    connection.recv(4096)  # Closed unread, it would be reset.
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        monkeypatch.setattr(standby, "ANSWER_SECONDS", 10.0)
        thread = threading.Thread(target=answer)
        thread.start()
        assert standby.answers(path)
        thread.join()


def test_the_first_takes_the_lease_at_once_and_is_named_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    start = Start(name="control", settings=Settings(home=tmp_path), home=home, descriptor=-1)
    lease = standby.take_lease(start, prepare=lambda: pytest.fail("there was nobody to wait for"))
    holder = read_holder(home.lease)
    assert holder is not None
    assert holder.name == "control"
    lease.close()


def test_who_stands_by_says_so_when_it_has_loaded_everything(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    me = Holder("control", os.getpid(), start_time(os.getpid()) or 0)
    held = Lease(home.lease, me)
    assert held.take()
    said_before: list[object] = []
    start = Start(name="control-2", settings=Settings(home=tmp_path), home=home, descriptor=-1)
    second = threading.Thread(
        target=lambda: standby.take_lease(
            start, prepare=lambda: said_before.append(read_holder(home.standing_by("control-2")))
        ).close()
    )
    second.start()
    while (waiting := read_holder(home.standing_by("control-2"))) is None:
        assert second.is_alive()
        time.sleep(0.01)
    assert said_before == [None]
    assert (waiting.name, waiting.pid) == ("control-2", os.getpid())
    held.close()
    second.join()
