"""What Comprehend's jobs do: read documents, ask the hosted models batch by batch, write the output at once."""

import asyncio
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from modelyard.base.clock import Clock
from modelyard.domain.usage import text_units
from modelyard.services import job_running
from modelyard.services.comprehend import topics
from modelyard.services.comprehend.analysis import (
    CUSTOM_ENTITIES,
    SERVICE,
    UNIT,
    Task,
    ask,
    personal_data,
)
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.documents import (
    EMPTY,
    PER_LINE,
    Archive,
    Document,
    FileByFile,
    documents,
    write_archive,
)
from modelyard.services.comprehend.job_kinds import (
    CLASSIFICATION_JOB,
    ENTITIES_JOB,
    KINDS,
    TOPICS_JOB,
    JobKind,
    redacted,
)
from modelyard.services.comprehend.jobs import KIND, output_uri
from modelyard.services.comprehend.shapes import pii_entities
from modelyard.services.comprehend.trained_models import MODEL_KINDS, RECOGNISER
from modelyard.services.hosted_models import HostedModels
from modelyard.services.job_objects import JobFailed, Objects
from modelyard.services.job_running import Job, Outcome, Stopped, Used
from modelyard.services.metering import Metering
from modelyard.store.resources import Json, ResourceStore

BATCH, BATCH_BYTES = 50, 1_000_000
"""Documents of one question, and their size."""
_Done = tuple[str, int, str]
"""The job's status, and how much of which unit it has used."""


class JobRunner:
    """All of Comprehend's jobs; ``scratch`` is a folder on the disk for what is not ready yet."""

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
        self._objects = objects
        self._models = models
        self._custom = custom
        self._scratch = scratch
        self._store = store
        self._runner = job_running.JobRunner(
            kind=KIND,
            execute=self._execute,
            release=self._release,
            store=store,
            metering=metering,
            clock=clock,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._runner.run()

    async def _release(self, job: Job) -> None:
        resource = self._store.get(job.key)
        if resource is not None:
            for kind in MODEL_KINDS:
                if arn := resource.spec.get(kind.arn):
                    call = job.call(_action(KINDS[resource.spec["Job"]]))
                    await self._custom.release(arn, call)

    async def _execute(self, job: Job) -> Outcome:
        """Raises ``Stopped``, ``JobFailed`` and ``ServiceError``."""
        spec = job.spec()
        kind = KINDS[spec["Job"]]
        given = spec["InputDataConfig"]
        source = documents(
            self._objects,
            given["S3Uri"],
            form=given.get("InputFormat") or PER_LINE,
            limit=kind.limit,
            without=output_uri(job.key, spec),
        )
        work = self._topics if kind is TOPICS_JOB else self._each
        usage_type = _task(kind, spec).usage_type if kind.task else kind.metered
        status, quantity, unit = await work(job, kind, source)
        return Outcome(
            status=status,
            used=Used(action=_action(kind), usage_type=usage_type, quantity=quantity, unit=unit),
        )

    async def _each(self, job: Job, kind: JobKind, source: Iterator[Document]) -> _Done:
        """Documents one by one, a batch a question. One that is stopped has used what its model has answered."""
        spec = job.spec()
        uri = output_uri(job.key, spec)
        output = (
            FileByFile(self._objects, uri, self._scratch)
            if kind.file is None
            else Archive(self._objects, uri, self._scratch, kind.file)
        )
        status, units = "COMPLETED", 0
        try:
            while batch := await asyncio.to_thread(take, source):
                job.spec()
                good = [one for one in batch if one.error is None]
                said = await job.patiently(partial(self._ask, job, kind, spec, good))
                units += sum(text_units(one.text) for one in good)
                answers = iter(said)
                lines = [
                    (one, next(answers) if one.error is None else _fault(one, spec))
                    for one in batch
                ]
                await asyncio.to_thread(_add, output, lines)
            job.spec()
            await asyncio.to_thread(output.finish)
        except Stopped:
            status = "STOPPED"
        finally:
            output.close()
        return status, units, UNIT

    async def _topics(self, job: Job, kind: JobKind, source: Iterator[Document]) -> _Done:
        """All documents at once."""
        spec = job.spec()
        found = await asyncio.to_thread(topics.collection, source)
        item = topics.question(found, spec)
        (finding,) = await job.patiently(
            lambda: self._models.ask(job.call(_action(kind)), SERVICE, topics.TASK, "*", [item]),
        )
        if finding.error:
            raise JobFailed(f"INVALID_INPUT: {finding.error}")
        job.spec()
        members = {
            name: (io.BytesIO(data), len(data))
            for name, data in topics.tables(found, finding.result).items()
        }
        uri = output_uri(job.key, spec)
        await asyncio.to_thread(write_archive, self._objects, uri, self._scratch, members)
        return "COMPLETED", topics.megabytes(found), "MB"

    async def _ask(
        self, job: Job, kind: JobKind, spec: Json, batch: Sequence[Document]
    ) -> list[Json | str]:
        """Of each document what the output has of it."""
        if not batch:
            return []
        call = job.call(_action(kind))
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
        task = _task(kind, spec)
        if task is CUSTOM_ENTITIES:
            findings = await self._custom.recognise(spec[RECOGNISER.arn], texts, call)
        else:
            findings = list(await ask(self._models, call, task.name, language, texts))
        said: list[Json | str] = []
        for document, finding in zip(batch, findings, strict=True):
            if finding.error:
                said.append(refused(document, finding.error))
            else:
                said.append({**document.place, **task.shape(document.text, finding)})
        return said


def _action(kind: JobKind) -> str:
    return f"comprehend:Start{kind.name}Job"


def _task(kind: JobKind, spec: Json) -> Task:
    """What a job asks of its model."""
    assert kind.task is not None
    return CUSTOM_ENTITIES if kind is ENTITIES_JOB and spec.get(RECOGNISER.arn) else kind.task


def _add(output: Archive | FileByFile, lines: Sequence[tuple[Document, Json | str]]) -> None:
    """A file that is whole becomes an object, which takes as long as it takes: blocking, for a thread."""
    for document, said in lines:
        output.add(document, said)


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
