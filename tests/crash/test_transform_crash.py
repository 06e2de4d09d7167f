"""A transform job is killed at each durability boundary, and started again: the outputs are those of a quiet run.

``MODELYARD_KILLS=20 MODELYARD_KILLED_OBJECTS=1000`` makes the random kills as many as they are said to have been survived.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.store.objects import ObjectStore
from modelyard.testing.fake_worker import FakeWorker

OBJECTS = 12
KILLS = int(os.environ.get("MODELYARD_KILLS", "5"))
KILLED_OBJECTS = int(os.environ.get("MODELYARD_KILLED_OBJECTS", "200"))
JOB = """
import json, sys
from modelyard.jobs.main import main
def report(state, reason="", progress=None):
    print(state, reason, flush=True)
sys.exit(main(json.loads(sys.argv[1]), "", report))
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[FakeWorker]:
    worker = FakeWorker(tmp_path / "w.sock", lambda frame: (200, frame.body.upper()))
    yield worker
    worker.close()


def run(payload: dict[str, Any], failpoints: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", JOB, json.dumps(payload)],
        env={**os.environ, "MODELYARD_FAILPOINTS": failpoints},
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.parametrize("visit", [1, 5])
@pytest.mark.parametrize(
    "place",
    [
        "objects.write",
        "objects.before-sync",
        "objects.before-rename",
        "objects.after-rename",
        "objects.before-commit",
        "objects.after-commit",
        "transform.after-intent",
        "transform.after-commit",
        "transform.before-journal",
        "transform.after-journal",
    ],
)
def test_a_killed_job_goes_on_where_it_was(
    tmp_path: Path, worker: FakeWorker, place: str, visit: int
) -> None:
    store = ObjectStore(tmp_path / "objects")
    for bucket in ("in", "out"):
        store.create_bucket(bucket, account="1", region="us-east-1")
    for number in range(OBJECTS):
        with store.writer("in", f"d/{number:02}.csv") as writer:
            writer.write(b"row %d a\nrow %d b\n" % (number, number))
            writer.commit()
    payload = {
        "job": "transform",
        "journal": str(tmp_path / "journal"),
        "objects": str(tmp_path / "objects"),
        "external_s3": str(tmp_path / "none.json"),
        "fetched": str(tmp_path / "fetched"),
        "spec": {
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3Uri": "s3://in/d/"}},
                "SplitType": "Line",
            },
            "TransformOutput": {"S3OutputPath": "s3://out/"},
        },
        "replicas": [[worker.address]],
        "containers": ["primary"],
    }
    # Opening the store is itself one commit of the index.
    visits = visit + 1 if place == "objects.before-commit" else visit
    killed = run(payload, f"{place}=kill:{visits}")
    assert killed.returncode == -9, killed.stderr
    first = {info.key: info.etag for info in store.page("out", "", after="")}
    resumed = run(payload)
    assert resumed.returncode == 0, resumed.stderr
    assert "succeeded" in resumed.stdout
    for number in range(OBJECTS):
        opened = store.open_object("out", f"{number:02}.csv.out")
        assert opened is not None
        with opened[1] as file:
            assert file.read() == b"ROW %d A\nROW %d B\n" % (number, number)
    requests = Counter(frame.body for frame in worker.seen)
    assert len(requests) == OBJECTS
    assert sum(requests.values()) <= OBJECTS + 1, "finished objects were computed again"
    last = {info.key: info.etag for info in store.page("out", "", after="")}
    assert first.items() <= last.items()
    store.close()


@pytest.mark.timeout(600)
def test_a_job_killed_at_random_writes_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, worker: FakeWorker
) -> None:
    store = ObjectStore(tmp_path / "objects")
    for bucket in ("in", "out", "calm"):
        store.create_bucket(bucket, account="1", region="us-east-1")
    for number in range(KILLED_OBJECTS):
        with store.writer("in", f"d/{number:04}.csv") as writer:
            writer.write(
                b"".join(b"row %d of %d\n" % (line, number) for line in range(number % 50 + 1))
            )
            writer.commit()

    def payload(bucket: str) -> dict[str, Any]:
        return {
            "job": "transform",
            "journal": str(tmp_path / bucket),
            "objects": str(tmp_path / "objects"),
            "external_s3": str(tmp_path / "none.json"),
            "fetched": str(tmp_path / "fetched"),
            "spec": {
                "TransformInput": {
                    "DataSource": {"S3DataSource": {"S3Uri": "s3://in/d/"}},
                    "SplitType": "Line",
                    "ContentType": "text/csv",
                },
                "TransformOutput": {
                    "S3OutputPath": f"s3://{bucket}/",
                    "Accept": "text/csv",
                    "AssembleWith": "Line",
                },
                "DataProcessing": {"JoinSource": "Input"},
            },
            "replicas": [[worker.address]],
            "containers": ["primary"],
        }

    calm = run(payload("calm"))
    assert calm.returncode == 0, calm.stderr
    worker.seen.clear()
    moments = random.Random(20)
    kills = 0
    for number in range(KILLS):
        wanted = (number + moments.random()) / KILLS * KILLED_OBJECTS
        with subprocess.Popen(
            [sys.executable, "-c", JOB, json.dumps(payload("out"))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and len(worker.seen) < wanted:
                time.sleep(0.001)
            kills += process.poll() is None
            process.kill()
    assert kills
    done = run(payload("out"))
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    outputs = {}
    for bucket in ("calm", "out"):
        outputs[bucket] = {info.key: info.etag for info in _every(store, bucket)}
    assert len(outputs["calm"]) == KILLED_OBJECTS
    assert outputs["out"] == outputs["calm"]
    requests = Counter(frame.body for frame in worker.seen)
    assert len(requests) == KILLED_OBJECTS
    assert sum(requests.values()) <= KILLED_OBJECTS + kills, "finished objects were computed again"
    print(f"{kills} kills, {sum(requests.values())} requests for {KILLED_OBJECTS} objects")
    store.close()


def _every(store: ObjectStore, bucket: str) -> Iterator[Any]:
    after = ""
    while page := store.page(bucket, "", after=after):
        yield from page
        after = page[-1].key
