"""A transform job, in its own process: reads input objects, sends their records to replicas, writes the outputs.

Each replica has a thread of its own, which takes one object after the other; an object never spans replicas. Memory
holds a few requests a replica, whatever the size of an object and however many there are. Outputs appear whole or not
at all; the journal remembers them, so that a job which is started again computes only what is missing.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from modelyard.base.clock import Clock
from modelyard.domain.record_join import Misaligned, Stamp
from modelyard.domain.record_paths import NotInRecord
from modelyard.domain.transform import Location, TransformOptions
from modelyard.domain.transform_packing import Batch, split_batch
from modelyard.domain.transform_records import BadFraming, RecordTooLarge
from modelyard.jobs.columns import ROWS_BYTES, Columns
from modelyard.jobs.data_log import ErrorLog
from modelyard.jobs.inputs import Input, Inputs, Objects, pieces_of
from modelyard.jobs.journal import Entry, Journal
from modelyard.jobs.outputs import Output
from modelyard.jobs.prefetch import Prefetch
from modelyard.jobs.replica import Answer, ObjectFailed, Prepared, ReplicaClient, StopFlag, Stopped
from modelyard.jobs.sharing import Part, Parts, Range, SharedObject, range_pieces, ranges_of

_REPORT_SECONDS = 1.0
_SAY_SECONDS = 5.0
"""The command line reads the progress from these lines of the log."""
_NAMED_FAILURES = 3
_AHEAD = 1
"""Requests that are ready while others are under way; one more is being made."""
_OBJECT_ERRORS = (ObjectFailed, RecordTooLarge, BadFraming, Misaligned, NotInRecord, OSError)
"""They fail their object; others go on."""
_LARGE_BYTES = 1 << 20
"""A smaller object is not worth a thread that reads ahead."""


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
    inputs: Inputs
    target: Location
    clock: Clock
    stop: StopFlag
    progress: Callable[[Progress], None]
    say: Callable[[str], None]
    errors: ErrorLog
    parts: Parts
    stamp: Stamp | None = None
    _total: int = 0
    _reported_at: float = float("-inf")
    _said_at: float = 0.0
    _under_way: dict[str, int] = field(default_factory=dict)
    """Records of unfinished objects that have their answers."""
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def run(self, replicas: Sequence[ReplicaClient]) -> str:
        """The reason of failure, empty if every object has its output.

        Raises ``Stopped``, and ``ReplicaLost`` when the job cannot go on.
        """
        self._total = sum(1 for _ in self.inputs)
        if not self._total:
            return f"No input objects with content were found {self.inputs.source}"
        self.say(f"{self._total} objects {self.inputs.source}, {len(replicas)} replicas")
        self._said_at = self.clock.monotonic()
        self._report(force=True)
        _Lanes(self, self.tasks(len(replicas))).run(replicas)
        self._report(force=True)
        totals = self.journal.totals()
        self.say(
            f"{totals.done} objects transformed, {totals.failed} failed, "
            f"{totals.records} records, {totals.bytes} bytes"
        )
        return self._failure() if totals.failed else ""

    def transform_object(self, source: Input, replica: ReplicaClient) -> None:
        """Bring one object to its end, unless the journal says that it has one."""
        if self.stop.is_set():
            raise Stopped
        if not self._has_ended(source):
            self._finish(source, lambda: self._transform(source, replica))

    def transform_range(self, task: Range, replica: ReplicaClient) -> None:
        """Answer a part of a shared object; after its last part, write the whole."""
        if self.stop.is_set():
            raise Stopped
        error = ""
        if not task.whole.error and self.parts.find(task) is None:
            try:
                self._answer_range(task, replica)
            except _OBJECT_ERRORS as failure:
                error = str(failure)
        if task.whole.finish_range(error):
            self._finish(task.whole.source, lambda: self._put_together(task.whole))
            self.parts.remove(task.whole)

    def tasks(self, replicas: int) -> Iterator[Input | Range]:
        """The objects in order; a large one in ranges, where they are shared."""
        for source in self.inputs:
            count = ranges_of(source.size)
            is_shared = self.options.shares_objects and replicas > 1 and count > 1
            if not is_shared or self._has_ended(source):
                yield source
                continue
            whole = SharedObject(source, count)
            for number in range(count):
                yield Range(whole, number)

    def _has_ended(self, source: Input) -> bool:
        """Whether the journal knows its output, or that it has none."""
        known = self.journal.find(source.key)
        if known is None or (known.state == "intended" and not self._was_committed(known)):
            return False
        if known.state == "intended":
            self.journal.finish(known.done())
        return True

    def _finish(self, source: Input, make: Callable[[], Entry]) -> None:
        """Make an object's output, or say why it has none."""
        started = self.clock.monotonic()
        name = f"s3://{self.inputs.bucket}/{source.key}"
        try:
            entry = make()
        except _OBJECT_ERRORS as error:
            entry = Entry(key=source.key, state="failed", input_etag=source.etag, reason=str(error))
            self.say(f"FAILED {name}: {error}")
            self.errors.tell(f"{self.inputs.bucket}/{source.key}: {error}")
        else:
            seconds = self.clock.monotonic() - started
            self.say(f"{name}: {entry.records} records, {entry.bytes} bytes in {seconds:.2f} s")
        finally:
            self._under_way.pop(source.key, None)
        self.journal.finish(entry)
        self._report()

    def output_key(self, key: str) -> str:
        """Where the answers for an input are written."""
        return self.inputs.output_key(key, self.target)

    def _was_committed(self, entry: Entry) -> bool:
        output = self.objects.head(self.target.bucket, self.output_key(entry.key))
        return output is not None and output.etag.strip('"') == entry.output_etag

    def _transform(self, source: Input, replica: ReplicaClient) -> Entry:
        self._refuse_rival(source)
        pieces = pieces_of(
            self.objects, self.inputs.bucket, source.key, is_gzip=self.options.is_gzip
        )
        records = 0
        with self._output(source) as output:
            for answer in self._answers(source, pieces, replica):
                records += answer.batch.records
                if answer.error:
                    output.put_aside(answer.batch, answer.error)
                else:
                    output.write(self._stored(source.key, answer), answer.content_type)
                del answer  # It holds its request's text, while the next is waited for.
            return self._commit(source, output, records)

    def _answer_range(self, task: Range, replica: ReplicaClient) -> None:
        source = task.whole.source
        self._refuse_rival(source)
        pieces = range_pieces(self.objects, self.inputs.bucket, task)
        records, content_type = 0, ""

        def stored() -> Iterator[bytes]:
            nonlocal records, content_type
            for answer in self._answers(source, pieces, replica):
                records += answer.batch.records
                content_type = content_type or answer.content_type
                yield self._stored(source.key, answer)
                del answer

        size = self.parts.write(task, stored())
        self.parts.finish(task, Part(records, size, content_type))

    def _put_together(self, whole: SharedObject) -> Entry:
        if whole.error:
            raise ObjectFailed(whole.error)
        records = 0
        with self._output(whole.source) as output:
            for part, pieces in self.parts.read(whole):
                records += part.records
                for piece in pieces:
                    output.write(piece, part.content_type)
            return self._commit(whole.source, output, records)

    def _answers(
        self, source: Input, pieces: Iterator[bytes], replica: ReplicaClient
    ) -> Iterator[Answer]:
        replica.complain = lambda batch, text: self._complain(source.key, batch, text)
        with self._prepared(source, pieces, replica.columns) as prepared:
            for answer in replica.transform(prepared):
                with self._counting:
                    before = self._under_way.get(source.key, 0)
                    self._under_way[source.key] = before + answer.batch.records
                yield answer
                del answer
                self._report()

    def _refuse_rival(self, source: Input) -> None:
        rival = self.inputs.rival(source.key)
        if rival is not None:
            raise ObjectFailed(f"its output would take the place of that of {rival}")

    @contextmanager
    def _output(self, source: Input) -> Iterator[Output]:
        output = Output(
            objects=self.objects,
            location=Location(self.target.bucket, self.output_key(source.key)),
            content_type=self.options.accept,
        )
        try:
            yield output
        except BaseException:
            output.abort()
            raise

    def _commit(self, source: Input, output: Output, records: int) -> Entry:
        """In the order that ``jobs.journal`` explains."""
        entry = Entry(
            key=source.key,
            state="intended",
            input_etag=source.etag,
            output_etag=output.etag,
            records=records,
            bytes=output.size,
        )
        if output.is_begun:
            self.journal.intend(entry)
            output.commit()
        return entry.done()

    def _stored(self, key: str, answer: Answer) -> bytes:
        """What is written for an answer."""
        body = answer.body
        processing = self.options.processing
        if processing is not None and processing.changes_answers:
            body = processing.stored(answer.batch, body, key=key, stamp=self.stamp)
        return self.options.assembled(body)

    @contextmanager
    def _prepared(
        self, source: Input, pieces: Iterator[bytes], columns: Columns | None
    ) -> Iterator[Iterator[Prepared]]:
        """The object's requests; those of a large object that become arrays are made by a thread, ahead of their use."""
        batches = self._batches(pieces, columns)
        if columns is None or source.size < _LARGE_BYTES:
            yield batches
            return
        with closing(Prefetch(batches, ahead=_AHEAD)) as ahead:
            yield ahead

    def _batches(self, pieces: Iterator[bytes], columns: Columns | None) -> Iterator[Prepared]:
        packer = self.options.packer(together_bytes=ROWS_BYTES if columns and columns.is_on else 0)
        for piece in pieces:
            for batch in packer.feed(piece):
                yield from self._as_arrays(batch, columns)
        for batch in packer.finish():
            yield from self._as_arrays(batch, columns)

    def _as_arrays(self, batch: Batch, columns: Columns | None) -> Iterator[Prepared]:
        array = columns.encode(batch.body, batch.records) if columns else None
        if array is None and self.options.is_single and batch.records > 1:
            parts = split_batch(batch, split=self.options.split, parts=batch.records)
            yield from map(Prepared, parts)
        else:
            yield Prepared(batch, array)

    def _complain(self, key: str, batch: Batch, text: str) -> None:
        last = batch.first + batch.records - 1
        self.errors.tell(
            f"{self.inputs.bucket}/{key}: records {batch.first} to {last}, from byte {batch.offset}: {text}"
        )

    def _report(self, *, force: bool = False) -> None:
        now = self.clock.monotonic()
        if not force and now - self._reported_at < _REPORT_SECONDS:
            return
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
        if now - self._said_at >= _SAY_SECONDS:
            self._said_at = now
            records = totals.records + sum(list(self._under_way.values()))
            failed = f", {totals.failed} failed" if totals.failed else ""
            self.say(f"progress: {totals.done} of {self._total} objects, {records} records{failed}")

    def _failure(self) -> str:
        totals = self.journal.totals()
        named = "; ".join(
            f"s3://{self.inputs.bucket}/{entry.key}: {entry.reason}"
            for entry in self.journal.failures(_NAMED_FAILURES)
        )
        more = f"; and {totals.failed - _NAMED_FAILURES} more"
        return (
            f"{totals.failed} of {self._total} objects could not be transformed: {named}"
            f"{more if totals.failed > _NAMED_FAILURES else ''}"
        )


class _Lanes:
    """A thread for each replica; the first error that is not an object's own ends all of them."""

    def __init__(self, job: TransformJob, tasks: Iterator[Input | Range]) -> None:
        self._job = job
        self._tasks = tasks
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
            while (task := self._next()) is not None:
                if isinstance(task, Range):
                    self._job.transform_range(task, replica)
                else:
                    self._job.transform_object(task, replica)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits for this one
            self._errors.append(error)
        finally:
            replica.close()

    def _next(self) -> Input | Range | None:
        with self._lock:
            return None if self._errors else next(self._tasks, None)
