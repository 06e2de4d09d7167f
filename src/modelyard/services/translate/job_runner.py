"""What a batch translation does: read each file once, translate it into each language, say of each what became of it.

Whatever is wrong with one file is told in the details of its language, and no other file's concern. A job that was stopped has
translated what it has; that is in its details, and metered.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from modelyard.ai.translating import Part
from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.services import job_running
from modelyard.services.job_objects import Objects, input_files, write_object
from modelyard.services.job_running import Job, Outcome, Stopped, Used
from modelyard.services.metering import Metering
from modelyard.services.translate.documents import read, source_of
from modelyard.services.translate.formats import Document
from modelyard.services.translate.job_details import Details
from modelyard.services.translate.jobs import KIND, output_folder
from modelyard.services.translate.translator import UNIT, Applied, Translator
from modelyard.store.resources import Json, ResourceStore

T = TypeVar("T")
FILE_BYTES = 20 << 20
"""The largest document of a job."""
GONE_MAX = 3
"""After so many files in a row that no model answered for, the job has failed."""
ACTION = "translate:StartTextTranslationJob"
USAGE_TYPE = "TranslateText"
_SAY_SECONDS = 1.0


class ModelGone(Exception):
    """No answer, however often it was asked for."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True, kw_only=True)
class _Progress:
    """Documents that were read, that are there in every language, and that are not; characters that were translated."""

    read: int = 0
    translated: int = 0
    failed: int = 0
    characters: int = 0
    gone: int = 0
    said_at: float = 0.0

    def details(self) -> Json:
        return {
            "JobDetails": {
                "TranslatedDocumentsCount": self.translated,
                "DocumentsWithErrorsCount": self.failed,
                "InputDocumentsCount": self.read,
            }
        }


@dataclass(slots=True, kw_only=True)
class _Batch:
    """What the files of one job share. ``terms``: by source and target."""

    job: Job
    spec: Json
    folder: str
    details: Mapping[str, Details]
    progress: _Progress = field(default_factory=_Progress)
    terms: dict[tuple[str, str], list[Applied]] = field(default_factory=dict)

    async def ask(self, question: Callable[[Call], Awaitable[T]]) -> T:
        """As ``translator.Asker``; each question has a deadline of its own. Raises ``ModelGone``."""
        try:
            return await self.job.patiently(lambda: question(self.job.call(ACTION)))
        except ServiceError as error:
            if error.retryable:
                raise ModelGone(error) from error
            raise


class TextTranslationRunner:
    """All of Translate's jobs; ``scratch`` is a folder on the disk for what is not ready yet."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        objects: Objects,
        translator: Translator,
        metering: Metering,
        clock: Clock,
        scratch: Path,
    ) -> None:
        self._objects = objects
        self._translator = translator
        self._clock = clock
        self._scratch = scratch
        self._runner = job_running.JobRunner(
            kind=KIND, execute=self._execute, store=store, metering=metering, clock=clock
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._runner.run()

    async def _execute(self, job: Job) -> Outcome:
        """Raises ``JobFailed`` and ``ServiceError``."""
        spec = job.spec()
        targets = spec["TargetLanguageCodes"]
        batch = _Batch(
            job=job,
            spec=spec,
            folder=output_folder(job.key, spec),
            details={target: Details(self._scratch, target) for target in targets},
        )
        try:
            status, message = await self._files(batch)
            await asyncio.to_thread(self._finish, batch)
        finally:
            for one in batch.details.values():
                one.close()
        return Outcome(
            status=status,
            details=batch.progress.details() | ({"Message": message} if message else {}),
            used=Used(
                action=ACTION,
                usage_type=USAGE_TYPE,
                quantity=batch.progress.characters,
                unit=UNIT,
            ),
        )

    def _finish(self, batch: _Batch) -> None:
        for one in batch.details.values():
            one.finish(self._objects, batch.spec, batch.folder)

    async def _files(self, batch: _Batch) -> tuple[str, str]:
        """All of them, one by one; the job's status at the end, and why it failed. Raises ``JobFailed``."""
        progress = batch.progress
        source = input_files(
            self._objects, batch.spec["InputDataConfig"]["S3Uri"], without=batch.folder
        )
        try:
            while (found := await asyncio.to_thread(_next, source)) is not None:
                batch.job.spec()
                name, data = found
                progress.read += 1
                is_whole = await self._file(batch, name, data)
                progress.translated += is_whole
                progress.failed += not is_whole
                await self._say(batch)
        except Stopped:
            return "STOPPED", ""
        except ModelGone as gone:
            progress.failed += 1
            return "FAILED", f"{gone.error.code}: {gone.error.message}"
        return ("COMPLETED_WITH_ERROR" if progress.failed else "COMPLETED"), ""

    async def _say(self, batch: _Batch) -> None:
        """How far it is; not after each of a thousand small files."""
        now = self._clock.monotonic()
        if now - batch.progress.said_at >= _SAY_SECONDS:
            batch.progress.said_at = now
            await batch.job.say(batch.progress.details())

    async def _file(self, batch: _Batch, name: str, data: bytes) -> bool:
        """Whether it is there in every language."""
        targets = batch.spec["TargetLanguageCodes"]
        try:
            document = await _read(data, batch.spec["InputDataConfig"]["ContentType"])
            code = batch.spec["SourceLanguageCode"]
            source = await source_of(self._translator, batch.ask, code, document)
        except (ServiceError, ModelGone) as error:
            for target in targets:
                self._failed(batch, target, name, error)
            return False
        done = [await self._into(batch, name, document, (source, target)) for target in targets]
        return all(done)

    async def _into(
        self, batch: _Batch, name: str, document: Document, pair: tuple[str, str]
    ) -> bool:
        source, target = pair
        batch.job.spec()
        try:
            self._translator.check_pair(source, target)
            terms = await self._terms(batch, pair)
            parts = await self._translator.translate(
                batch.ask, source, target, document.sentences, terms
            )
        except (ServiceError, ModelGone) as error:
            self._failed(batch, target, name, error)
            return False
        folder, slash, file = name.rpartition("/")
        new = f"{folder}{slash}{target}.{file}"
        await asyncio.to_thread(self._write, batch, new, document, parts)
        batch.progress.gone = 0
        batch.progress.characters += document.characters
        is_found = batch.spec["SourceLanguageCode"] != source
        batch.details[target].translated(
            name, new, document.characters, terms, source if is_found else ""
        )
        return True

    def _write(
        self, batch: _Batch, name: str, document: Document, parts: Sequence[Sequence[Part]]
    ) -> None:
        written = io.BytesIO(document.write(parts))
        content_type = batch.spec["InputDataConfig"]["ContentType"]
        write_object(self._objects, f"{batch.folder}{name}", written, content_type)

    async def _terms(self, batch: _Batch, pair: tuple[str, str]) -> list[Applied]:
        """Anew for each document, since they remember what was met."""
        if pair not in batch.terms:
            call = batch.job.call(ACTION)
            names = batch.spec["TerminologyNames"]
            batch.terms[pair] = await self._translator.terms(call, names, *pair)
        return [Applied(name=one.name, terms=one.terms) for one in batch.terms[pair]]

    def _failed(
        self, batch: _Batch, target: str, name: str, error: ServiceError | ModelGone
    ) -> None:
        """Raises where it is not for this file alone."""
        if isinstance(error, ModelGone):
            batch.progress.gone += 1
            batch.details[target].failed(name, error.error)
            if batch.progress.gone >= GONE_MAX:
                raise error
        else:
            batch.details[target].failed(name, error)


async def _read(data: bytes, content_type: str) -> Document:
    """Raises ``ServiceError``."""
    if len(data) > FILE_BYTES:
        raise ServiceError(
            "LimitExceededException", f"The document has more than {FILE_BYTES} bytes."
        )
    return await read(data, content_type)


def _next(source: Iterator[tuple[str, IO[bytes]]]) -> tuple[str, bytes] | None:
    """The next file's name and content, which is cut off where it is too much anyway; None at the end."""
    found = next(source, None)
    return None if found is None else (found[0], found[1].read(FILE_BYTES + 1))
