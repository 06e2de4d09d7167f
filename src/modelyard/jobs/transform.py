"""A transform job, in its own process: reads input objects, sends their records to replicas, writes the outputs.

Each replica has a thread of its own, which takes one object after the other; an object never spans replicas. Memory
holds a few requests a replica, whatever the size of an object and however many there are. Outputs appear whole or not
at all; the journal remembers them, so that a job which is started again computes only what is missing.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from modelyard.base.clock import Clock
from modelyard.base.failpoint import failpoint
from modelyard.domain.transform import (
    Batch,
    Location,
    RecordTooLarge,
    TransformOptions,
    is_input,
    output_key,
)
from modelyard.jobs.journal import Entry, Journal
from modelyard.jobs.replica import ObjectFailed, ReplicaClient, StopFlag, Stopped

_PIECE_BYTES = 1 << 20
_PROGRESS_SECONDS = 1.0
_NAMED_FAILURES = 3


class StoredObject(Protocol):
    """``store.objects.ObjectInfo``, as far as it matters here."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...


class ObjectWriter(Protocol):
    """An output on its way; nothing is visible before ``commit``."""

    def write(self, data: bytes) -> None: ...
    def commit(self) -> object: ...
    def abort(self) -> None: ...


class Objects(Protocol):
    """The S3 store as a job uses it; blocking, used by several threads."""

    def head(self, bucket: str, key: str) -> StoredObject | None: ...
    def open_object(self, bucket: str, key: str) -> tuple[StoredObject, BinaryIO] | None:
        """Its bytes as they are now, whatever happens to the object meanwhile."""

    def page(self, bucket: str, prefix: str, *, after: str) -> Sequence[StoredObject]:
        """The next objects by key; empty at the end."""

    def writer(self, bucket: str, key: str, *, content_type: str) -> ObjectWriter: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the job is; ``bytes`` and ``records`` are those of finished outputs."""

    objects_total: int
    objects_done: int = 0
    objects_failed: int = 0
    records: int = 0
    bytes: int = 0


@dataclass(slots=True, kw_only=True)
class TransformJob:
    """One run over everything that the journal does not know yet."""

    objects: Objects
    journal: Journal
    options: TransformOptions
    source: Location
    target: Location
    clock: Clock
    stop: StopFlag
    progress: Callable[[Progress], None]
    say: Callable[[str], None]
    _total: int = 0
    _reported_at: float = float("-inf")

    def run(self, replicas: Sequence[ReplicaClient]) -> str:
        """The reason of failure, empty if every object has its output.

        Raises ``Stopped``, and ``ReplicaLost`` when the job cannot go on.
        """
        self._total = sum(1 for _ in self._inputs())
        if not self._total:
            return f"No input objects with content were found under {self.source}"
        self.say(f"{self._total} objects under {self.source}, {len(replicas)} replicas")
        self._report(force=True)
        _Lanes(self, self._inputs()).run(replicas)
        self._report(force=True)
        totals = self.journal.totals()
        self.say(
            f"{totals.done} objects transformed, {totals.failed} failed, "
            f"{totals.records} records, {totals.bytes} bytes"
        )
        return self._failure() if totals.failed else ""

    def transform_object(self, stored: StoredObject, replica: ReplicaClient) -> None:
        """Bring one object to its end, unless the journal says that it has one."""
        if self.stop.is_set():
            raise Stopped
        known = self.journal.find(stored.key)
        if known and (known.state != "intended" or self._was_committed(known)):
            if known.state == "intended":
                self.journal.finish(_done(known))
            return
        started = self.clock.monotonic()
        try:
            entry = self._transform(stored, replica)
        except (ObjectFailed, RecordTooLarge, OSError) as error:
            entry = Entry(key=stored.key, state="failed", input_etag=stored.etag, reason=str(error))
            self.say(f"FAILED s3://{self.source.bucket}/{stored.key}: {error}")
        else:
            seconds = self.clock.monotonic() - started
            self.say(
                f"s3://{self.target.bucket}/{self._output_key(stored.key)}: "
                f"{entry.records} records, {entry.bytes} bytes in {seconds:.2f} s"
            )
        self.journal.finish(entry)
        self._report()

    def _inputs(self) -> Iterator[StoredObject]:
        after = ""
        while page := self.objects.page(self.source.bucket, self.source.key, after=after):
            after = page[-1].key
            for stored in page:
                if is_input(stored.key, stored.size):
                    yield stored

    def _was_committed(self, entry: Entry) -> bool:
        output = self.objects.head(self.target.bucket, self._output_key(entry.key))
        return output is not None and output.etag.strip('"') == entry.output_etag

    def _transform(self, stored: StoredObject, replica: ReplicaClient) -> Entry:
        key = self._output_key(stored.key)
        self._refuse_collision(stored.key, key)
        writer: ObjectWriter | None = None
        digest = hashlib.md5(usedforsecurity=False)
        records = size = 0
        try:
            for answer in replica.transform(self._batches(stored)):
                if writer is None:
                    writer = self._writer(key, answer.content_type or self.options.accept)
                piece = self.options.assembled(answer.body)
                writer.write(piece)
                digest.update(piece)
                records += answer.batch.records
                size += len(piece)
            if writer is None:
                raise ObjectFailed("the object is empty")
            entry = Entry(
                key=stored.key,
                state="intended",
                input_etag=stored.etag,
                output_etag=digest.hexdigest(),
                records=records,
                bytes=size,
            )
            self.journal.intend(entry)
            writer.commit()
            failpoint("transform.after-commit")
        except BaseException:
            if writer is not None:
                writer.abort()
            raise
        return _done(entry)

    def _writer(self, key: str, content_type: str) -> ObjectWriter:
        try:
            return self.objects.writer(self.target.bucket, key, content_type=content_type)
        except FileNotFoundError:
            raise ObjectFailed(f"there is no bucket {self.target.bucket} for its output") from None

    def _batches(self, stored: StoredObject) -> Iterator[Batch]:
        packer = self.options.packer()
        for piece in self._pieces(stored.key):
            yield from packer.feed(piece)
        yield from packer.finish()

    def _pieces(self, key: str) -> Iterator[bytes]:
        opened = self.objects.open_object(self.source.bucket, key)
        if opened is None:
            raise ObjectFailed("the object was deleted while the job ran")
        with opened[1] as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def _output_key(self, key: str) -> str:
        return output_key(key, prefix=self.source.key, output_prefix=self.target.key)

    def _refuse_collision(self, key: str, output: str) -> None:
        """``data`` as a prefix covers ``data/x`` and ``data-x``; two inputs must never share an output."""
        prefix = self.source.key
        if not prefix or key.startswith(f"{prefix.rstrip('/')}/"):
            return
        rival = f"{prefix}/{output.removesuffix('.out').removeprefix(self.target.key).lstrip('/')}"
        if rival != key and self.objects.head(self.source.bucket, rival) is not None:
            raise ObjectFailed(f"its output would take the place of that of {rival}")

    def _report(self, *, force: bool = False) -> None:
        now = self.clock.monotonic()
        if force or now - self._reported_at >= _PROGRESS_SECONDS:
            self._reported_at = now
            totals = self.journal.totals()
            self.progress(
                Progress(
                    objects_total=self._total,
                    objects_done=totals.done,
                    objects_failed=totals.failed,
                    records=totals.records,
                    bytes=totals.bytes,
                )
            )

    def _failure(self) -> str:
        totals = self.journal.totals()
        named = "; ".join(
            f"s3://{self.source.bucket}/{entry.key}: {entry.reason}"
            for entry in self.journal.failures(_NAMED_FAILURES)
        )
        more = f"; and {totals.failed - _NAMED_FAILURES} more"
        return (
            f"{totals.failed} of {self._total} objects could not be transformed: {named}"
            f"{more if totals.failed > _NAMED_FAILURES else ''}"
        )


class _Lanes:
    """A thread for each replica; the first error that is not an object's own ends all of them."""

    def __init__(self, job: TransformJob, inputs: Iterator[StoredObject]) -> None:
        self._job = job
        self._inputs = inputs
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []

    def run(self, replicas: Sequence[ReplicaClient]) -> None:
        threads = [
            threading.Thread(target=self._work, args=(replica,), name=f"replica-{number}")
            for number, replica in enumerate(replicas)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, replica: ReplicaClient) -> None:
        try:
            while (stored := self._next()) is not None:
                self._job.transform_object(stored, replica)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits for this one
            self._errors.append(error)
        finally:
            replica.close()

    def _next(self) -> StoredObject | None:
        with self._lock:
            return None if self._errors else next(self._inputs, None)


def _done(entry: Entry) -> Entry:
    return Entry(
        key=entry.key,
        state="done",
        input_etag=entry.input_etag,
        output_etag=entry.output_etag,
        records=entry.records,
        bytes=entry.bytes,
    )
