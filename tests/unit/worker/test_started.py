"""A worker that another Python serves: same socket, same reports, and it ends as the process that it started."""

import json
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.testing import models
from modelyard.transport.blocking import BlockingChannel, ConnectionLost
from modelyard.transport.frames import REQUEST, Frame, RequestMeta, encode_meta
from modelyard.worker.main import main

SCRIPT = b"""
import os, sys, time
def model_fn(model_dir):
    print("started by", os.getppid(), flush=True)
    return os.environ["OWN"]
def transform_fn(model, body, content_type, accept):
    if body == "die": os.kill(os.getpid(), 9)
    if body == "hang": time.sleep(60)
    return model, "text/plain"
"""


class Started:
    """A forked child whose worker runs in another process; ``reports`` is what the host would hear."""

    def __init__(self, folder: Path, script: bytes = SCRIPT, **environment: str) -> None:
        self.reports = folder / "reports"
        self.address = f"unix:{folder / 'w.sock'}"
        archive = models.archive(folder / "model.tar.gz", files={"code/inference.py": script})
        payload = {
            "id": "w", "image": "sklearn", "environment": {"OWN": "yes", **environment},
            "python": sys.executable, "max_batch": 8, "queue": 10, "artifacts": str(folder / "artifacts"),
            "model": {"path": str(archive), "key": "k", "name": "model.tar.gz"},
            "limits": {"payload_bytes": 1000, "artifact_bytes": 100_000, "artifact_files": 10,
                       "invocation_seconds": 60},
        }  # fmt: skip
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(payload, writer)
        os.close(writer)
        self.reader = reader

    def _run(self, payload: dict[str, Any], writer: int) -> None:
        status = 70

        def report(state: str, reason: str = "", progress: object = None) -> None:
            os.write(writer, json.dumps([state, reason]).encode() + b"\n")

        try:
            status = main(payload, self.address, report)
        finally:
            os._exit(status)

    def next_report(self) -> list[str]:
        assert select.select([self.reader], [], [], 60)[0], "no report"
        found: list[str] = json.loads(os.read(self.reader, 4096).splitlines()[0])
        return found

    def ask(self, body: bytes) -> Frame:
        channel = BlockingChannel(self.address, limit=100_000, timeout_seconds=60)
        meta = encode_meta(RequestMeta("text/csv"))
        channel.send(REQUEST, 1, number=60_000, flags=0, meta=meta, body=body)
        try:
            while True:
                poll = select.poll()
                poll.register(channel, channel.events)
                ready = poll.poll(60_000)
                assert ready, "no answer"
                for frame in channel.step(ready[0][1]):
                    return frame
        finally:
            channel.close()

    def ended(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Started]:
    return lambda **more: Started(tmp_path, **more)


def test_it_answers_on_the_same_socket_and_drains(start: Callable[..., Started]) -> None:
    worker = start()
    assert worker.next_report()[0] == "ready"
    assert worker.ask(b"hello").body == b"yes"
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.ended() == 0


def test_its_death_is_the_workers(start: Callable[..., Started]) -> None:
    worker = start()
    assert worker.next_report()[0] == "ready"
    with pytest.raises(ConnectionLost):
        worker.ask(b"die")
    assert worker.ended() == -signal.SIGKILL


def test_a_script_that_hangs_is_ended_by_its_own_limit(start: Callable[..., Started]) -> None:
    worker = start(SAGEMAKER_MODEL_SERVER_TIMEOUT="1")
    assert worker.next_report()[0] == "ready"
    with pytest.raises(ConnectionLost):
        worker.ask(b"hang")
    assert worker.ended() == -signal.SIGALRM


def test_why_it_cannot_start_reaches_the_host(start: Callable[..., Started]) -> None:
    worker = start(script=b"import nowhere\n")
    state, reason = worker.next_report()
    assert state == "failed"
    assert reason.startswith("inference.py cannot be imported: ModuleNotFoundError")
    assert worker.ended() == 1
