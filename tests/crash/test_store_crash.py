"""Killed at each boundary of a commit, the store has what it acknowledged, and all of a write or nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.base.clock import SystemClock
from modelyard.store.resources import Resource
from modelyard.store.sqlite import SqliteResourceStore

WRITER = """
import asyncio, sys
from pathlib import Path
from modelyard.base.clock import SystemClock
from modelyard.store.resources import Create, Key
from modelyard.store.sqlite import SqliteResourceStore

def key(name):
    return Key(kind="model", account="1", region="r", name=name)

async def main():
    store = SqliteResourceStore(Path(sys.argv[1]), clock=SystemClock())
    async def write(number):
        pair = [Create(key=key(f"{number}-{half}"), spec={}) for half in "ab"]
        written = await store.write(*pair)
        print(number, max(one.version for one in written), flush=True)
    for round in range(50):
        await asyncio.gather(*(write(round * 4 + n) for n in range(4)))

asyncio.run(main())
"""


def run(path: Path, **environment: str) -> tuple[int, dict[int, int]]:
    """The exit status, and the version of each write that was acknowledged."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    return done.returncode, {int(number): int(version) for number, version in lines}


def read(path: Path) -> dict[str, Resource]:
    store = SqliteResourceStore(path, clock=SystemClock())
    found = {one.key.name: one for one in store.list("model")}
    store.close()
    return found


@pytest.mark.parametrize("boundary", ["store.before-commit", "store.after-commit"])
@pytest.mark.parametrize("visit", [1, 2, 30])
def test_a_killed_store_keeps_what_it_acknowledged_and_no_half(
    tmp_path: Path, boundary: str, visit: int
) -> None:
    path = tmp_path / "state.db"
    status, acknowledged = run(path, MODELYARD_FAILPOINTS=f"{boundary}={visit}")
    assert status == -signal.SIGKILL

    found = read(path)
    for number, version in acknowledged.items():
        assert found[f"{number}-b"].version == version
    halves = {name.split("-")[0] for name in found}
    assert sorted(found) == sorted(f"{number}-{half}" for number in halves for half in "ab")
    if boundary == "store.after-commit":
        assert len(halves) > len(acknowledged), json.dumps(acknowledged)


def test_a_full_disk_at_a_commit_is_told_and_leaves_the_store_sound(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    status, acknowledged = run(path, MODELYARD_FAILPOINTS="store.before-commit=error:3")
    assert status == 1
    assert {f"{number}-a" for number in acknowledged} <= set(read(path))
