"""Runs Comprehend's jobs: reads documents, asks the hosted models batch by batch, writes the output at once.

A job that was cut off begins again when control is back: its output is not there before it is whole, and its usage is metered by
the job's id, so that it counts once. No engine runs here; what blocks runs in threads.
"""

import asyncio
import io
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.usage import text_units
from modelyard.services.comprehend import topics
from modelyard.services.comprehend.analysis import SERVICE, UNIT, ask, personal_data
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.documents import (
    EMPTY,
    PER_LINE,
    Archive,
    Document,
    FileByFile,
    JobFailed,
    Objects,
    documents,
    write_archive,
)
from modelyard.services.comprehend.job_kinds import (
    CLASSIFICATION_JOB,
    KINDS,
    TOPICS_JOB,
    JobKind,
    redacted,
)
from modelyard.services.comprehend.jobs import KIND, output_uri
from modelyard.services.comprehend.shapes import pii_entities
from modelyard.services.hosted_models import HostedModels, PackNotInstalled
from modelyard.services.metering import Metering
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update, VersionConflict

T = TypeVar("T")
logger = logging.getLogger(__name__)
JOBS_AT_ONCE = 4
BATCH, BATCH_BYTES = 50, 1_000_000
"""Documents of one question, and their size."""
ATTEMPTS = 8
_RETRY_SECONDS = 0.5
_QUESTION_SECONDS = 60.0
_ACTIVE = ("SUBMITTED", "IN_PROGRESS", "STOP_REQUESTED")


class Stopped(Exception):
    """Somebody asked for the end of the job."""


class JobRunner:
    """All jobs of a platform; ``scratch`` is a folder on the disk for what is not ready yet."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        objects: Objects,
        models: HostedModels,
        custom: CustomModels,
        metering: Metering,
        clock: Clock,
        scratch: Path,
    ) -> None:
        self._store = store
        self._objects = objects
        self._models = models
        self._custom = custom
        self._metering = metering
        self._clock = clock
        self._scratch = scratch
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        store.subscribe(self._notice)

    def _notice(self, key: Key) -> None:
        if key.kind == KIND:
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for resource in self._store.list(KIND):
                    key = resource.key
                    if (
                        resource.status["JobStatus"] in _ACTIVE
                        and key not in self._running
                        and len(self._running) < JOBS_AT_ONCE
                    ):
                        task = tasks.create_task(self._work(key), name=f"{KIND}.{key.name}")
                        self._running[key] = task
                await self._wake.wait()

    async def _work(self, key: Key) -> None:
        """One job to its end, whatever that is."""
        try:
            await self._end(key, *await self._outcome(key))
            await self._release(key)
        finally:
            del self._running[key]
            self._wake.set()

    async def _outcome(self, key: Key) -> tuple[str, str]:
        try:
            await self._execute(key)
        except Stopped:
            return "STOPPED", ""
        except JobFailed as failure:
            return "FAILED", str(failure)
        except ServiceError as error:
            return "FAILED", f"{error.code}: {error.message}"
        except (
            Exception
        ) as error:  # As the reconcile loop: a bug is this job's end, and no other's.
            logger.exception("%s %s failed", KIND, key.name)
            return "FAILED", f"INTERNAL_SERVER_ERROR: {type(error).__name__}: {error}"
        return "COMPLETED", ""

    async def _end(self, key: Key, status: str, message: str) -> None:
        change = {"JobStatus": status, "EndTime": self._clock.now()}
        await self._write(key, {**change, "Message": message} if message else change)

    async def _release(self, key: Key) -> None:
        resource = self._store.get(key)
        arn = resource and resource.spec.get("DocumentClassifierArn")
        if arn:
            await self._custom.release(arn, self._call(key, CLASSIFICATION_JOB))

    async def _write(self, key: Key, change: Json) -> None:
        """Change the status, whoever else does; a job that was deleted meanwhile has none."""
        while (resource := self._store.get(key)) is not None:
            status = {**resource.status, **change}
            try:
                await self._store.write(Update(key=key, version=resource.version, status=status))
            except VersionConflict:
                continue
            return

    def _current(self, key: Key) -> Resource:
        resource = self._store.get(key)
        if resource is None or resource.status["JobStatus"] == "STOP_REQUESTED":
            raise Stopped
        return resource

    async def _execute(self, key: Key) -> None:
        """Raises ``Stopped``, ``JobFailed`` and ``ServiceError``."""
        spec = self._current(key).spec
        await self._write(key, {"JobStatus": "IN_PROGRESS"})
        kind = KINDS[spec["Job"]]
        given = spec["InputDataConfig"]
        source = documents(
            self._objects,
            given["S3Uri"],
            form=given.get("InputFormat") or PER_LINE,
            limit=kind.limit,
        )
        work = self._topics if kind is TOPICS_JOB else self._each
        quantity, unit = await work(key, kind, source)
        if quantity:
            await self._metering.meter(
                self._call(key, kind),
                usage_type=kind.usage_type,
                quantity=quantity,
                unit=unit,
                repeat_id=key.name,
            )

    async def _each(self, key: Key, kind: JobKind, source: Iterator[Document]) -> tuple[int, str]:
        """Documents one by one, a batch a question; how many units they were."""
        spec = self._current(key).spec
        uri = output_uri(key, spec)
        output = (
            FileByFile(self._objects, uri)
            if kind.file is None
            else Archive(self._objects, uri, self._scratch, kind.file)
        )
        units = 0
        try:
            while batch := await asyncio.to_thread(take, source):
                self._current(key)
                good = [one for one in batch if one.error is None]
                said = await self._patiently(key, partial(self._ask, key, kind, spec, good))
                units += sum(text_units(one.text) for one in good)
                answers = iter(said)
                for document in batch:
                    is_good = document.error is None
                    output.add(document, next(answers) if is_good else _fault(document, spec))
            self._current(key)
            await asyncio.to_thread(output.finish)
        finally:
            output.close()
        return units, UNIT

    async def _topics(self, key: Key, kind: JobKind, source: Iterator[Document]) -> tuple[int, str]:
        """All documents at once; how many megabytes they were."""
        spec = self._current(key).spec
        found = await asyncio.to_thread(topics.collection, source)
        item = topics.question(found, spec)
        (finding,) = await self._patiently(
            key,
            lambda: self._models.ask(self._call(key, kind), SERVICE, topics.TASK, "*", [item]),
        )
        if finding.error:
            raise JobFailed(f"INVALID_INPUT: {finding.error}")
        self._current(key)
        members = {
            name: (io.BytesIO(data), len(data))
            for name, data in topics.tables(found, finding.result).items()
        }
        uri = output_uri(key, spec)
        await asyncio.to_thread(write_archive, self._objects, uri, self._scratch, members)
        return topics.megabytes(found), "MB"

    async def _patiently(self, key: Key, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer; asked for again where the model is restarting."""
        for attempt in itertools.count():
            try:
                return await ask()
            except PackNotInstalled:
                raise
            except ServiceError as error:
                if not error.retryable or attempt >= ATTEMPTS:
                    raise
                await self._clock.sleep(_RETRY_SECONDS * 2**attempt)
                self._current(key)
        raise AssertionError("counting does not end")

    async def _ask(
        self, key: Key, kind: JobKind, spec: Json, batch: Sequence[Document]
    ) -> list[Json | str]:
        """Of each document what the output has of it."""
        if not batch:
            return []
        call = self._call(key, kind)
        texts = [one.text for one in batch]
        if kind is CLASSIFICATION_JOB:
            answers = await self._custom.classify(spec["DocumentClassifierArn"], texts, call)
            return [
                refused(document, said)
                if isinstance(said, str)
                else {**_place_in_words(document), **said}
                for document, said in zip(batch, answers, strict=True)
            ]
        language = spec.get("LanguageCode") or "*"
        if kind.task is None:
            found = await personal_data(self._models, call, language, texts)
            pairs = list(zip(batch, found, strict=True))
            if spec["Mode"] == "ONLY_REDACTION":
                config = spec.get("RedactionConfig") or {}
                return [redacted(one.text, data, config) for one, data in pairs]
            return [{**one.place, **pii_entities(data)} for one, data in pairs]
        findings = await ask(self._models, call, kind.task.name, language, texts)
        said: list[Json | str] = []
        for document, finding in zip(batch, findings, strict=True):
            if finding.error:
                said.append(refused(document, finding.error))
            else:
                said.append({**document.place, **kind.task.shape(document.text, finding)})
        return said

    def _call(self, key: Key, kind: JobKind) -> Call:
        return Call(
            principal=Principal(kind="root", arn="", id=key.account, account=key.account),
            account=key.account,
            region=key.region,
            action=f"comprehend:Start{kind.name}Job",
            request_id=key.name,
            deadline=self._clock.monotonic() + _QUESTION_SECONDS,
        )


def take(source: Iterator[Document]) -> list[Document]:
    """The next documents, few and small enough for one question; none at the end."""
    batch: list[Document] = []
    size = 0
    for document in source:
        batch.append(document)
        size += len(document.text)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            break
    return batch


def _place_in_words(document: Document) -> Json:
    """The predictions of a classifier have the line as text; so AWS's guide shows them."""
    return {name: str(value) for name, value in document.place.items()}


def refused(document: Document, reason: str) -> Json:
    """What the output has of a document that its model refuses."""
    return {**document.place, "ErrorCode": "INVALID_REQUEST", "ErrorMessage": reason}


def _fault(document: Document, spec: Json) -> Json | str:
    """What the output has instead; never the document, whatever it holds. An empty one is nothing that could be redacted."""
    assert document.error is not None
    code, message = document.error
    if code == EMPTY and spec.get("Mode") == "ONLY_REDACTION":
        return ""
    return {**document.place, "ErrorCode": code, "ErrorMessage": message}
