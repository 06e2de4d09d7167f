"""Batch translation: every document of a folder into every language, once, whatever is wrong with some of them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.catalogue import NotServed
from modelyard.ai.questions import Finding, Item
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.services.metering import Metering
from modelyard.services.sagemaker.resources import Roles
from modelyard.services.translate.job_runner import FILE_BYTES, TextTranslationRunner
from modelyard.services.translate.jobs import TranslationJobs
from modelyard.services.translate.terminologies import Terminologies
from modelyard.services.translate.translator import Translator
from modelyard.store.objects import ObjectStore
from modelyard.store.usage import Usage
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

PAIRS = ["en-es", "en-fr", "de-es"]


class Models:
    """Shouts; what begins with ``der`` is German. ``before`` is awaited before each answer."""

    def __init__(self) -> None:
        self.before: Callable[[], Awaitable[None]] = self._nothing

    async def _nothing(self) -> None:
        """All is well."""

    async def ask(
        self, call: Call, service: str, task: str, language: str, items: Sequence[Item],
        options: Mapping[str, Any] | None = None,
    ) -> list[Finding]:  # fmt: skip
        await self.before()
        if service == "comprehend":
            codes = ["de" if item["text"].startswith("der") else "en" for item in items]
            return [Finding(result={"languages": [[code, 0.9]]}) for code in codes]
        return [self._one(item["pieces"]) for item in items]

    def _one(self, pieces: Sequence[Any]) -> Finding:
        parts = [
            [number, "".join(run.upper() if isinstance(run, str) else run["fixed"] for run in runs)]
            for number, runs in enumerate(pieces)
        ]
        return Finding(error="no words for it") if "UNSAYABLE" in parts[0][1] else Finding(result={"parts": parts})  # fmt: skip

    def find(self, service: str, task: str, language: str) -> None:
        if language not in PAIRS:
            raise NotServed(PAIRS)

    def languages(self, service: str, task: str) -> list[str]:
        return PAIRS


class Recorded:
    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        self.used.setdefault(usage_id, usage)


class World:
    def __init__(self, folder: Path) -> None:
        self.clock, self.folder = ManualClock(), folder
        self.store = MemoryResourceStore(clock=self.clock)
        self.objects = ObjectStore(folder / "objects", clock=self.clock)
        self.objects.create_bucket("b", account="1", region="r")
        self.models, self.recorded = Models(), Recorded()
        self.terminologies = Terminologies(
            store=self.store, shelf=self.objects, locate=lambda bucket, key: key
        )
        self.translator = Translator(
            models=self.models,  # type: ignore[arg-type]
            terminologies=self.terminologies,
        )
        roles = Roles(store=self.store, strict=False)
        self.jobs = TranslationJobs(store=self.store, roles=roles, translator=self.translator)

    def runner(self) -> TextTranslationRunner:
        return TextTranslationRunner(
            store=self.store,
            objects=self.objects,
            translator=self.translator,
            metering=Metering(usage=self.recorded, clock=self.clock),
            clock=self.clock,
            scratch=self.folder,
        )

    def put(self, key: str, body: bytes) -> None:
        with self.objects.writer("b", key) as writer:
            writer.write(body)
            writer.commit()

    def read(self, key: str) -> bytes:
        found = self.objects.open_object("b", key)
        assert found is not None, key
        with found[1] as file:
            return file.read()

    def written(self, job: str) -> list[str]:
        prefix = f"out/1-TranslateText-{job}/"
        return [one.key.removeprefix(prefix) for one in self.objects.page("b", prefix, after="")]

    def details(self, job: str, target: str) -> Any:
        place = f"out/1-TranslateText-{job}/details/{target}.auxiliary-translation-details.json"
        return json.loads(self.read(place))

    async def start(self, token: str = "t", form: str = "text/plain", **given: Any) -> str:
        arguments = {
            "input_data_config": {"S3Uri": "s3://b/in/", "ContentType": form},
            "output_data_config": {"S3Uri": "s3://b/out"},
            "data_access_role_arn": "arn:aws:iam::123456789012:role/x",
            "source_language_code": "en", "target_language_codes": ["es"], "client_token": token, **given,
        }  # fmt: skip
        return str((await self.jobs.start_text_translation_job(call(), **arguments))["JobId"])

    async def ended(self, job: str) -> Any:
        """Its description when it has ended, whatever the clock has to do for that."""
        while True:
            said = await self.jobs.describe_text_translation_job(call(), job_id=job)
            about = said["TextTranslationJobProperties"]
            if about["JobStatus"] not in ("SUBMITTED", "IN_PROGRESS", "STOP_REQUESTED"):
                return about
            self.clock.advance(1.0)
            await asyncio.sleep(0.001)

    def used(self) -> list[float]:
        return [one.quantity for one in self.recorded.used.values()]


def call() -> Call:
    principal = Principal(kind="root", arn="", id="1", account="1")
    return Call(
        principal=principal, account="1", region="r", action="translate:X", request_id="q", deadline=9.0
    )  # fmt: skip


def scenario(tmp_path: Path, body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        world = World(tmp_path)
        running = asyncio.ensure_future(world.runner().run())
        try:
            await asyncio.wait_for(body(world), 30)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            world.objects.close()

    asyncio.run(run())


def test_a_folder_is_translated_into_each_language_with_terms_and_details(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await world.terminologies.import_terminology(
            call(), name="brand", merge_strategy="OVERWRITE",
            terminology_data={"File": b"en,es\nAcme,Acma\n", "Format": "CSV"},
        )  # fmt: skip
        world.put("in/a.txt", b"one Acme\n\ntwo")
        world.put("in/deep/b.txt", b"three")
        given = {
            "target_language_codes": ["es", "fr"],
            "terminology_names": ["brand"],
            "job_name": "n",
        }
        job = await world.start(**given)
        about = await world.ended(job)
        assert about["JobStatus"] == "COMPLETED" and about["EndTime"] and "Message" not in about
        assert about["JobDetails"] == {
            "TranslatedDocumentsCount": 2, "DocumentsWithErrorsCount": 0, "InputDocumentsCount": 2,
        }  # fmt: skip
        folder = about["OutputDataConfig"]["S3Uri"]
        assert folder == f"s3://b/out/1-TranslateText-{job}/" and about["JobName"] == "n"
        assert world.written(job) == [
            "deep/es.b.txt", "deep/fr.b.txt", "details/es.auxiliary-translation-details.json",
            "details/fr.auxiliary-translation-details.json", "es.a.txt", "fr.a.txt",
        ]  # fmt: skip
        assert world.read(f"{folder[7:]}es.a.txt") == b"ONE Acma\n\nTWO"
        assert world.read(f"{folder[7:]}fr.a.txt") == b"ONE ACME\n\nTWO"
        brand = {"name": "brand", "terms": [{"sourceText": "Acme", "targetText": "Acma"}]}
        assert world.details(job, "es") == {
            "sourceLanguageCode": "en", "targetLanguageCode": "es", "charactersTranslated": "18",
            "documentCountWithCustomerError": "0", "documentCountWithServerError": "0",
            "inputDataPrefix": "s3://b/in/", "outputDataPrefix": folder,
            "details": [
                {"sourceFile": "a.txt", "targetFile": "es.a.txt", "auxiliaryData": {"appliedTerminologies": [brand]}},
                {"sourceFile": "deep/b.txt", "targetFile": "deep/es.b.txt", "auxiliaryData": {}},
            ],
        }  # fmt: skip
        (used,) = world.recorded.used.values()
        assert (used.quantity, used.unit) == (36, "Character")
        assert (used.operation, used.usage_type) == ("StartTextTranslationJob", "TranslateText")

    scenario(tmp_path, body)


def test_what_is_wrong_with_one_file_is_told_and_is_no_other_files_concern(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"\xff")
        world.put("in/b.txt", b"good")
        world.put("in/c.txt", b" \n")
        world.put("in/d.txt", b"unsayable")
        world.put("in/e.txt", b"x" * (FILE_BYTES + 1))
        job = await world.start()
        about = await world.ended(job)
        assert about["JobStatus"] == "COMPLETED_WITH_ERROR"
        assert about["JobDetails"] == {
            "TranslatedDocumentsCount": 1, "DocumentsWithErrorsCount": 4, "InputDocumentsCount": 5,
        }  # fmt: skip
        details = world.details(job, "es")
        errors = {
            one["sourceFile"]: one["auxiliaryData"]["error"]
            for one in details["details"] if "error" in one["auxiliaryData"]
        }  # fmt: skip
        assert {name: error["errorCode"] for name, error in errors.items()} == {
            "a.txt": "InvalidRequestException", "c.txt": "InvalidRequestException",
            "d.txt": "InternalServerException", "e.txt": "LimitExceededException",
        }  # fmt: skip
        assert "UTF-8" in errors["a.txt"]["errorMessage"]
        assert details["documentCountWithCustomerError"] == "3"
        assert details["documentCountWithServerError"] == "1"
        assert world.written(job) == ["details/es.auxiliary-translation-details.json", "es.b.txt"]
        assert world.used() == [4]

    scenario(tmp_path, body)


def test_auto_is_found_file_by_file(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.html", b"<p>der <b>hund</b>")
        world.put("in/b.html", b"<p>dog")
        given = {"source_language_code": "auto", "target_language_codes": ["es", "fr"]}
        job = await world.start(form="text/html", **given)
        assert (await world.ended(job))["JobStatus"] == "COMPLETED_WITH_ERROR"
        found = [one["sourceLanguage"] for one in world.details(job, "es")["details"]]
        assert found == ["de", "en"]
        german, english = world.details(job, "fr")["details"]
        assert german["auxiliaryData"]["error"]["errorCode"] == "UnsupportedLanguagePairException"
        assert english["targetFile"] == "fr.b.html"
        assert world.read(f"out/1-TranslateText-{job}/es.a.html") == b"<p>DER <b>HUND</b>"

    scenario(tmp_path, body)


def test_a_job_that_was_cut_off_is_done_and_metered_once(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one")
        world.put("in/b.txt", b"two")
        reached = asyncio.Event()

        async def hang() -> None:
            if world.written(job):
                reached.set()
                await asyncio.Event().wait()

        world.models.before = hang
        job = await world.start()
        await reached.wait()  # One file is there; control dies.
        world.models.before = world.models._nothing
        other = asyncio.ensure_future(world.runner().run())
        assert (await world.ended(job))["JobStatus"] == "COMPLETED"
        assert world.used() == [6] and len(world.written(job)) == 3
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)

    scenario(tmp_path, body)


def test_a_stopped_job_has_what_it_has_and_that_is_metered(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        for name in "abc":
            world.put(f"in/{name}.txt", b"word")
        reached, go = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            if world.written(job):
                reached.set()
                await go.wait()

        world.models.before = wait
        job = await world.start()
        await reached.wait()
        stop = world.jobs.stop_text_translation_job
        assert await stop(call(), job_id=job) == {"JobId": job, "JobStatus": "STOP_REQUESTED"}
        go.set()
        about = await world.ended(job)
        assert (about["JobStatus"], about["JobDetails"]["TranslatedDocumentsCount"]) == (
            "STOPPED",
            2,
        )
        assert world.details(job, "es")["charactersTranslated"] == "8" and world.used() == [8]
        assert (await stop(call(), job_id=job))["JobStatus"] == "STOPPED"

    scenario(tmp_path, body)


def test_models_that_restart_are_waited_for_and_those_that_are_gone_end_the_job(
    tmp_path: Path,
) -> None:
    async def body(world: World) -> None:
        for name in "abcde":
            world.put(f"in/{name}.txt", b"word")
        failures = iter([503, 503])

        async def restart() -> None:
            if status := next(failures, 0):
                raise ServiceError("ServiceUnavailableException", "later", status=status)

        world.models.before = restart
        assert (await world.ended(await world.start()))["JobStatus"] == "COMPLETED"

        async def gone() -> None:
            raise ServiceError("ServiceUnavailableException", "gone", status=503)

        world.models.before = gone
        job = await world.start("second")
        about = await world.ended(job)
        assert (about["JobStatus"], about["Message"]) == (
            "FAILED", "ServiceUnavailableException: gone",
        )  # fmt: skip
        assert about["JobDetails"]["DocumentsWithErrorsCount"] == 3
        assert world.used() == [20]

    scenario(tmp_path, body)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_data_config": {"S3Uri": "s3://b/none/", "ContentType": "text/plain"}}, "NO_READ_ACCESS_TO_INPUT"),
        ({"output_data_config": {"S3Uri": "s3://elsewhere/out"}}, "NO_WRITE_ACCESS_TO_OUTPUT"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_be_done_says_why(tmp_path: Path, given: Any, message: str) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one")
        about = await world.ended(await world.start(**given))
        assert about["JobStatus"] == "FAILED" and about["Message"].startswith(message)
        assert world.used() == []

    scenario(tmp_path, body)


def test_a_job_does_not_translate_what_it_has_written_itself(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one")
        given = {"output_data_config": {"S3Uri": "s3://b/in/"}}
        about = await world.ended(await world.start(**given))
        assert about["JobDetails"]["InputDocumentsCount"] == 1

    scenario(tmp_path, body)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"target_language_codes": ["ja"]}, "UnsupportedLanguagePairException"),
        ({"source_language_code": "auto", "target_language_codes": ["ja"]}, "UnsupportedLanguagePairException"),
        ({"target_language_codes": ["es"] * 2}, "InvalidRequestException"),
        ({"target_language_codes": ["es"] * 11}, "InvalidRequestException"),
        ({"terminology_names": ["none"]}, "ResourceNotFoundException"),
        ({"terminology_names": ["a", "b"]}, "InvalidRequestException"),
        ({"parallel_data_names": ["p"]}, "UnsupportedOperation"),
        ({"settings": {"Profanity": "MASK"}}, "UnsupportedOperation"),
        ({"form": "application/x-xliff+xml"}, "UnsupportedOperation"),
        ({"output_data_config": {"S3Uri": "s3://b/o", "EncryptionKey": {"Type": "KMS", "Id": "k"}}}, "UnsupportedOperation"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_at_once(tmp_path: Path, given: Any, code: str) -> None:
    async def body(world: World) -> None:
        with pytest.raises(ServiceError) as caught:
            await world.start(**given)
        assert caught.value.code == code
        listed = await world.jobs.list_text_translation_jobs(call())
        assert listed == {"TextTranslationJobPropertiesList": []}

    scenario(tmp_path, body)


def test_the_same_token_is_the_same_job_and_jobs_are_listed_by_one_filter(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        first = await world.start(job_name="one")
        assert await world.start(job_name="one") == first
        with pytest.raises(ServiceError, match="another job"):
            await world.start(job_name="other")
        world.clock.advance(10)
        second = await world.start("u")

        async def ids(**given: Any) -> list[str]:
            found = await world.jobs.list_text_translation_jobs(call(), **given)
            return [one["JobId"] for one in found["TextTranslationJobPropertiesList"]]

        assert await ids() == [second, first]
        assert await ids(filter={"JobName": "one"}) == [first]
        assert await ids(filter={"SubmittedAfterTime": world.clock.now() - 5}) == [second]
        assert await ids(filter={"SubmittedBeforeTime": world.clock.now() + 5}) == [first, second]
        with pytest.raises(ServiceError) as caught:
            await ids(filter={"JobName": "one", "JobStatus": "FAILED"})
        assert caught.value.code == "InvalidFilterException"
        for operation in (
            world.jobs.describe_text_translation_job,
            world.jobs.stop_text_translation_job,
        ):
            with pytest.raises(ServiceError) as caught:
                await operation(call(), job_id="none")
            assert caught.value.code == "ResourceNotFoundException"

    scenario(tmp_path, body)
