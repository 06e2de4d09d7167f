"""A disk without room: the platform's processes are started all the same, and status says what is the matter."""

import json
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from modelyard.base.settings import Home, Settings
from modelyard.server import status, supervisor


class Usage(NamedTuple):
    """``shutil.disk_usage``'s."""

    total: int
    used: int
    free: int


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def test_a_table_that_cannot_be_written_ends_nothing_and_is_written_later(home: Home) -> None:
    with socket.socket() as listener:
        watch = supervisor.Supervisor(Settings(home=home.root), listener)
    temporary = home.process_table.with_suffix(".tmp")
    temporary.mkdir()  # The next best thing to a full disk: writing it is an OSError.
    watch._write_process_table()
    assert not home.process_table.exists()
    temporary.rmdir()
    assert watch._seconds_to_next(announced=True) is not None
    watch._write_table_at = 0.0
    watch._write_process_table()
    assert "supervisor" in json.loads(home.process_table.read_text())
    assert watch._write_table_at is None


def test_a_process_whose_log_cannot_be_opened_runs_without_one(home: Home) -> None:
    (home.logs / "host.log").mkdir()
    with supervisor._open_log(home, "host") as log:
        log.write(b"nowhere")


def test_status_says_how_the_disk_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = Usage(100 << 30, 50 << 30, 50 << 30)
    monkeypatch.setattr(status.shutil, "disk_usage", lambda _: usage)
    assert status.disk(home) == "50.0 GiB free"
    assert status.disk(home, slowest_write=2.5) == (
        "50.0 GiB free; slow, a write took 2.5 s in the last minute"
    )
    monkeypatch.setattr(status.shutil, "disk_usage", lambda _: Usage(100, 100, 0))
    assert status.disk(home).startswith("full, 0 KiB free: what would be saved is refused")
