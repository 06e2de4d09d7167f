"""A transform job in threads of the test, against workers that do what the test tells them."""

import csv
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pytest

from modelyard.jobs.main import run_transform
from modelyard.testing.fake_worker import Answered, FakeWorker, Model
from modelyard.transport.frames import Frame


def upper(frame: Frame) -> Answered:
    return 200, frame.body.upper()


@dataclass(frozen=True)
class Stored:
    key: str
    size: int
    etag: str
    path: Path


class FakeObjects:
    """Objects as files of one folder; keys as file names with slashes escaped."""

    writer_type: type["FakeWriter"]

    def __init__(self, root: Path) -> None:
        self.root = root
        self.page_size = 3
        self.commits: list[str] = []
        self.open_writers = 0

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self._path(bucket, key).write_bytes(data)

    def get(self, bucket: str, key: str) -> bytes | None:
        path = self._path(bucket, key)
        return path.read_bytes() if path.exists() else None

    def keys(self, bucket: str) -> list[str]:
        names = [path.name for path in self.root.iterdir()]
        return sorted(
            name.partition("!")[2].replace("~", "/") for name in names if name.startswith(bucket)
        )

    def head(self, bucket: str, key: str) -> Stored | None:
        path = self._path(bucket, key)
        if not path.exists():
            return None
        with path.open("rb") as file:
            etag = f'"{hashlib.file_digest(file, "md5").hexdigest()}"'
        return Stored(key=key, size=path.stat().st_size, etag=etag, path=path)

    def open_object(self, bucket: str, key: str) -> tuple[Stored, BinaryIO] | None:
        head = self.head(bucket, key)
        return (head, head.path.open("rb")) if head else None

    def page(self, bucket: str, prefix: str, *, after: str) -> Sequence[Stored]:
        keys = [key for key in self.keys(bucket) if key.startswith(prefix) and key > after]
        heads = [self.head(bucket, key) for key in keys[: self.page_size]]
        return [head for head in heads if head]

    def writer(self, bucket: str, key: str, *, content_type: str) -> "FakeWriter":
        self.open_writers += 1
        return FakeWriter(self, bucket, key)

    def _path(self, bucket: str, key: str) -> Path:
        return self.root / f"{bucket}!{key.replace('/', '~')}"


class FakeWriter:
    def __init__(self, objects: FakeObjects, bucket: str, key: str) -> None:
        self._objects, self._bucket, self._key = objects, bucket, key
        self._data = b""

    def write(self, data: bytes) -> None:
        self._data += data

    def commit(self) -> None:
        self._objects.put(self._bucket, self._key, self._data)
        self._objects.commits.append(self._key)
        self._objects.open_writers -= 1

    def abort(self) -> None:
        self._objects.open_writers -= 1


FakeObjects.writer_type = FakeWriter


class Bench:
    """Everything a job needs, and what it reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "objects").mkdir()
        self.objects = FakeObjects(folder / "objects")
        self.workers: list[FakeWorker] = []
        self.reports: list[tuple[str, str, Any]] = []
        self.stop = threading.Event()
        self.errors: list[str] = []
        self.payload: dict[str, Any] = {}
        self.spec: dict[str, Any] = {
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://in/d/"}},
                "SplitType": "Line",
                "ContentType": "text/csv",
            },
            "TransformOutput": {"S3OutputPath": "s3://out/r", "Accept": "text/csv"},
        }

    def worker(self, model: Model = upper) -> FakeWorker:
        worker = FakeWorker(self.folder / f"{len(self.workers)}.sock", model)
        self.workers.append(worker)
        return worker

    def move(self, replicas: list[list[str]]) -> None:
        journal = self.folder / "journal"
        journal.mkdir(exist_ok=True)
        (journal / "new").write_bytes(msgspec.json.encode(replicas))
        os.replace(journal / "new", journal / "replicas.json")

    def run(self, *replicas: Sequence[FakeWorker]) -> int:
        payload = {
            "job": "transform",
            "journal": str(self.folder / "journal"),
            "spec": self.spec,
            "replicas": [[worker.address for worker in chain] for chain in replicas],
            "containers": [f"container-{number}" for number, _ in enumerate(replicas[0])],
        }
        payload |= self.payload
        return run_transform(
            payload, self._report, objects=self.objects, stop=self.stop, errors=self
        )

    def tell(self, text: str) -> None:
        self.errors.append(text)

    def _report(self, state: str, reason: str = "", progress: dict[str, Any] | None = None) -> None:
        self.reports.append((state, reason, progress))

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    @property
    def last(self) -> tuple[str, str, Any]:
        return self.reports[-1]


@pytest.fixture(autouse=True)
def _own_field_size_limit() -> Iterator[None]:
    """Training sets it for its own process; the tests' process gets it back."""
    before = csv.field_size_limit()
    yield
    csv.field_size_limit(before)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def make_bench() -> type[Bench]:
    """For tests that run several jobs, each in a folder of its own; they close them."""
    return Bench
