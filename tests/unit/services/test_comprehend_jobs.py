"""Comprehend's jobs: from documents in a bucket to an archive beside them, once, whatever happens on the way."""

import asyncio
import csv
import io
import json
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.questions import Finding, Item
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import SeededRandom
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.documents import Document, FileByFile, documents
from modelyard.services.comprehend.job_kinds import PII_JOB, SENTIMENT_JOB, redacted
from modelyard.services.comprehend.job_operations import DetectionJobs
from modelyard.services.comprehend.job_runner import JobRunner
from modelyard.services.comprehend.jobs import Jobs
from modelyard.services.metering import Metering
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.objects import ObjectStore
from modelyard.store.usage import Usage
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

MIB = 1 << 20
ROLE = "arn:aws:iam::123456789012:role/x"
ANSWERS: Mapping[str, Any] = {
    "sentiment": {"scores": {"POSITIVE": 1.0, "NEGATIVE": 0.0, "NEUTRAL": 0.0, "MIXED": 0.0}},
    "topics": {
        "terms": [[["soup", 0.75], ['bread, or "loaf"', 0.25]], [["goal", 1.0]]],
        "shares": [[[1, 1.0]], [[0, 0.75], [1, 0.25]]],
    },
    "pii-patterns": {"entities": [["PIN", 0, 1, 0.9]]},
    "pii-names": {"entities": [["PERSON", 2, 5, 0.9]]},
}


class Models:
    """Answers each text alike; ``before`` is awaited first, and may raise."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.items: list[Item] = []
        self.before: Callable[[], Coroutine[Any, Any, None]] = self._nothing

    async def _nothing(self) -> None:
        """All is well."""

    async def ask(
        self, call: Call, service: str, task: str, language: str, items: Sequence[Item]
    ) -> list[Finding]:
        await self.before()
        self.batches.append(len(items))
        self.items += items
        return [Finding(result=ANSWERS[task]) for _ in items]


class Recorded:
    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        self.used.setdefault(usage_id, usage)


class World:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.objects = ObjectStore(folder / "objects", clock=self.clock)
        self.objects.create_bucket("b", account="1", region="r")
        self.models, self.recorded = Models(), Recorded()
        self.folder = folder
        jobs = Jobs(
            store=self.store,
            clock=self.clock,
            random=SeededRandom(1),
            roles=Roles(store=self.store, strict=False),
        )
        self.custom = CustomModels(store=self.store, models=self.models)  # type: ignore[arg-type]
        self.sentiment = self.pii = DetectionJobs(jobs=jobs, custom=self.custom)

    def runner(self) -> JobRunner:
        return JobRunner(
            store=self.store,
            objects=self.objects,
            models=self.models,  # type: ignore[arg-type]
            custom=self.custom,
            metering=Metering(usage=self.recorded, clock=self.clock),
            clock=self.clock,
            scratch=self.folder,
        )

    def put(self, key: str, body: bytes) -> None:
        with self.objects.writer("b", key) as writer:
            writer.write(body)
            writer.commit()

    def read(self, uri: str) -> bytes:
        found = self.objects.open_object("b", uri.removeprefix("s3://b/"))
        assert found is not None, uri
        with found[1] as file:
            return file.read()

    async def start(self, **given: Any) -> str:
        arguments = {
            "input_data_config": {"S3Uri": "s3://b/in/"}, "output_data_config": {"S3Uri": "s3://b/out"},
            "data_access_role_arn": ROLE, "language_code": "en", **given,
        }  # fmt: skip
        job = (
            self.pii.start_pii_entities_detection_job
            if "mode" in given
            else self.sentiment.start_sentiment_detection_job
        )
        started = await job(call(), **arguments)
        assert started["JobStatus"] == "SUBMITTED"
        return str(started["JobId"])

    async def describe(self, job: str) -> Any:
        return (await self.sentiment.describe_sentiment_detection_job(call(), job_id=job))[
            "SentimentDetectionJobProperties"
        ]

    async def ended(self, job: str) -> Any:
        """The job's description when it has ended, whatever the clock has to do for that."""
        while True:
            (resource,) = [one for one in self.store.list("comprehend-job") if one.key.name == job]
            if resource.status["JobStatus"] in ("COMPLETED", "FAILED", "STOPPED"):
                return resource
            self.clock.advance(1.0)
            await asyncio.sleep(0.001)


def call(request: str = "q") -> Call:
    principal = Principal(kind="root", arn="", id="1", account="1")
    return Call(
        principal=principal,
        account="1",
        region="r",
        action="comprehend:X",
        request_id=request,
        deadline=9.0,
    )


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


def lines_of(archive: bytes) -> list[Any]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        file = opened.extractfile("output")
        assert file is not None
        return [json.loads(line) for line in file.read().splitlines()]


def test_a_job_answers_line_by_line_and_is_metered_once(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one\n\n" + b"x" * 6000 + b"\n\xff\nlast \xc3\xa9")
        world.put("in/deep/b.txt", b"two\n" * 120)
        job = await world.start()
        ended = await world.ended(job)
        assert ended.status["JobStatus"] == "COMPLETED"
        about = await world.describe(job)
        assert about["EndTime"] and about["JobArn"].endswith(f"sentiment-detection-job/{job}")
        lines = lines_of(world.read(about["OutputDataConfig"]["S3Uri"]))
        assert [(one["File"], one["Line"]) for one in lines[:6]] == [
            *(("a.txt", n) for n in range(5)),
            ("deep/b.txt", 0),
        ]
        assert [one.get("ErrorCode") for one in lines[:5]] == [
            None, "EMPTY_DOCUMENT", "DOCUMENT_SIZE_EXCEEDED", "INVALID_ENCODING", None,
        ]  # fmt: skip
        assert len(lines) == 125 and lines[5]["Sentiment"] == "POSITIVE"
        assert max(world.models.batches) <= 50
        (used,) = world.recorded.used.values()
        assert (used.quantity, used.operation) == (122 * 3, "StartSentimentDetectionJob")

    scenario(tmp_path, body)


def test_a_job_that_was_cut_off_begins_again_and_counts_once(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one\n")
        reached = asyncio.Event()

        async def hang() -> None:
            reached.set()
            await asyncio.Event().wait()

        world.models.before = hang
        job = await world.start()
        await reached.wait()
        other = asyncio.ensure_future(
            world.runner().run()
        )  # Another control, after the first was killed.
        world.models.before = world.models._nothing
        ended = await world.ended(job)
        assert ended.status["JobStatus"] == "COMPLETED"
        assert len(world.recorded.used) == 1
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)

    scenario(tmp_path, body)


def test_a_model_that_restarts_is_waited_for_and_one_that_refuses_is_not(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one\n")
        failures = iter([503, 503])

        async def restart() -> None:
            if status := next(failures, 0):
                raise ServiceError("ServiceUnavailableException", "later", status=status)

        world.models.before = restart
        job = await world.start()
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        said = await world.sentiment.describe_sentiment_detection_job(call(), job_id=job)
        data = said["SentimentDetectionJobProperties"]["InputDataConfig"]
        assert data["InputFormat"] == "ONE_DOC_PER_LINE", "so AWS shows what was not given"
        with pytest.raises(ServiceError, match=r"^InvalidRequestException: .* is COMPLETED"):
            await world.sentiment.stop_sentiment_detection_job(call(), job_id=job)

        async def refuse() -> None:
            raise ServiceError("UnsupportedLanguageException", "not that one")

        world.models.before = refuse
        ended = await world.ended(await world.start(job_name="second"))
        assert ended.status["JobStatus"] == "FAILED"
        assert ended.status["Message"] == "UnsupportedLanguageException: not that one"

    scenario(tmp_path, body)


def test_a_stopped_job_leaves_no_output_and_is_metered_for_what_was_answered(
    tmp_path: Path,
) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one\n" * 200)
        reached, go = asyncio.Event(), asyncio.Event()
        record, failures = world.recorded.record, iter((OSError("full"), None))

        async def wait() -> None:
            if len(world.models.batches) == 2:
                reached.set()
                await go.wait()

        def fail_once(usage_id: str, usage: Usage, *, now: float) -> None:
            if error := next(failures):
                raise error
            record(usage_id, usage, now=now)

        world.models.before = wait
        world.recorded.record = fail_once  # type: ignore[method-assign]
        job = await world.start()
        await reached.wait()
        stopped = await world.sentiment.stop_sentiment_detection_job(call(), job_id=job)
        assert stopped == {"JobId": job, "JobStatus": "STOP_REQUESTED"}
        go.set()
        assert (await world.ended(job)).status["JobStatus"] == "STOPPED"
        again = await world.sentiment.stop_sentiment_detection_job(call(), job_id=job)
        assert again["JobStatus"] == "STOPPED"
        assert not world.objects.page("b", "out", after="")
        (used,) = world.recorded.used.values()
        assert (used.quantity, used.operation) == (150 * 3, "StartSentimentDetectionJob")

    scenario(tmp_path, body)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_data_config": {"S3Uri": "s3://b/none/"}}, "NO_READ_ACCESS_TO_INPUT"),
        ({"output_data_config": {"S3Uri": "s3://elsewhere/out"}}, "NO_WRITE_ACCESS_TO_OUTPUT"),
    ],
)
def test_a_job_that_cannot_be_done_says_why(tmp_path: Path, given: Any, message: str) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one\n")
        ended = await world.ended(await world.start(**given))
        assert ended.status["JobStatus"] == "FAILED"
        assert ended.status["Message"].startswith(message)

    scenario(tmp_path, body)


def test_personal_data_is_found_or_redacted_file_by_file(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"1 Ann x\n\n2 Bob y\n")
        world.put("in/b.txt", b"3 Cid z")
        config = {"PiiEntityTypes": ["NAME"], "MaskMode": "MASK", "MaskCharacter": "#"}
        job = await world.start(mode="ONLY_REDACTION", redaction_config=config)
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        folder = f"s3://b/out/1-PII-{job}/output/"
        assert world.read(f"{folder}a.txt.out") == b"1 ### x\n\n2 ### y\n"
        job = await world.start(
            mode="ONLY_OFFSETS",
            input_data_config={"S3Uri": "s3://b/in/b", "InputFormat": "ONE_DOC_PER_FILE"},
        )
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        found = json.loads(world.read(f"s3://b/out/1-PII-{job}/output/b.txt.out"))
        assert found["File"] == "b.txt"
        assert [(one["Type"], one["BeginOffset"]) for one in found["Entities"]] == [
            ("PIN", 0),
            ("NAME", 2),
        ]

    scenario(tmp_path, body)


def test_what_is_found_file_by_file_is_written_beside_the_loop(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"1 Ann x\n")
        world.put("in/b.txt", b"2 Bob y\n")
        threads = set()
        writer = world.objects.writer

        def watched(*given: Any, **named: Any) -> Any:
            threads.add(threading.current_thread())
            return writer(*given, **named)

        world.objects.writer = watched  # type: ignore[method-assign]
        job = await world.start(mode="ONLY_OFFSETS")
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        assert threads
        assert threading.main_thread() not in threads, "it serves every call of the platform"

    scenario(tmp_path, body)


def test_a_job_does_not_read_what_it_writes_below_its_input(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("a.txt", b"1 Ann x\n")
        world.put(
            "b.txt", b"2 Bob y\n" * 60
        )  # More than a question: what is found in a.txt is written meanwhile.
        job = await world.start(mode="ONLY_OFFSETS", input_data_config={"S3Uri": "s3://b/"})
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        written = [one.key for one in world.objects.page("b", "out/", after="")]
        folder = f"out/1-PII-{job}/output/"
        assert written == [f"{folder}a.txt.out", f"{folder}b.txt.out"]

    scenario(tmp_path, body)


def test_what_is_found_in_a_long_file_is_not_held_in_memory(tmp_path: Path) -> None:
    world = World(tmp_path)
    output = FileByFile(world.objects, "s3://b/out/", tmp_path)
    said = "x" * MIB
    tracemalloc.start()
    for number in range(16):
        output.add(Document(file="a", line=number), said)
    output.finish()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    output.close()
    assert most < 6 * MIB
    assert world.read("s3://b/out/a.out") == (said + "\n").encode() * 16
    world.objects.close()


def test_the_same_token_is_the_same_job(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        first = await world.start(client_request_token="t")
        arguments = {
            "input_data_config": {"S3Uri": "s3://b/in/"}, "output_data_config": {"S3Uri": "s3://b/out"},
            "data_access_role_arn": ROLE, "language_code": "en", "client_request_token": "t",
        }  # fmt: skip
        again = await world.sentiment.start_sentiment_detection_job(call(), **arguments)
        assert again["JobId"] == first
        with pytest.raises(ServiceError, match="another job") as caught:
            await world.sentiment.start_sentiment_detection_job(
                call(), **{**arguments, "language_code": "es"}
            )
        assert caught.value.code == "ResourceInUseException"

    scenario(tmp_path, body)


def test_jobs_are_listed_by_their_kind_and_filter(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        first = await world.start(job_name="one")
        world.clock.advance(10)
        second = await world.start(job_name="two")
        listed = world.sentiment.list_sentiment_detection_jobs

        async def ids(**given: Any) -> list[str]:
            found = await listed(call(), **given)
            return [one["JobId"] for one in found["SentimentDetectionJobPropertiesList"]]

        assert await ids() == [second, first]
        assert await ids(filter={"JobName": "one"}) == [first]
        assert await ids(filter={"SubmitTimeAfter": world.clock.now() - 5}) == [second]
        page = await listed(call(), max_results=1)
        assert await ids(max_results=1, next_token=page["NextToken"]) == [first]
        with pytest.raises(ServiceError, match="one member"):
            await ids(filter={"JobName": "one", "JobStatus": "FAILED"})
        none = await world.pii.list_pii_entities_detection_jobs(call())
        assert none == {"PiiEntitiesDetectionJobPropertiesList": []}
        with pytest.raises(ServiceError) as caught:
            await world.pii.describe_pii_entities_detection_job(call(), job_id=first)
        assert caught.value.code == "JobNotFoundException"

    scenario(tmp_path, body)


def test_what_is_not_executed_is_refused_by_name(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        for name, value in (("volume_kms_key_id", "k"), ("vpc_config", {"Subnets": ["s"]})):
            with pytest.raises(ServiceError) as caught:
                await world.start(**{name: value})
            assert caught.value.code == "UnsupportedOperation"

    scenario(tmp_path, body)


def test_redaction_replaces_what_was_found_and_nothing_else() -> None:
    found = [("NAME", 3, 6, 0.9), ("PIN", 0, 2, 0.9)]
    kinds = {"MaskMode": "REPLACE_WITH_PII_ENTITY_TYPE"}
    assert redacted("12 Ann!", found, kinds) == "[PIN] [NAME]!"
    assert redacted("12 Ann!", found, {"MaskMode": "MASK", "PiiEntityTypes": ["NAME"]}) == "12 ***!"
    assert (PII_JOB.properties, SENTIMENT_JOB.limit) == ("PiiEntitiesDetectionJobProperties", 5000)


def test_an_object_itself_is_an_input(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path, clock=ManualClock())
    objects.create_bucket("b", account="1", region="r")
    with objects.writer("b", "in/a.txt") as writer:
        writer.write(b"text")
        writer.commit()
    found = list(documents(objects, "s3://b/in/a.txt", form="ONE_DOC_PER_FILE", limit=100))
    assert found == [Document(file="a.txt", line=None, text="text")]
    objects.close()


def table(archive: bytes, name: str) -> list[list[str]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return list(csv.reader(io.TextIOWrapper(file)))


def test_a_collections_topics_are_two_tables(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"a goal\n\nsoup and bread\n")
        started = await world.sentiment.start_topics_detection_job(
            call(),
            input_data_config={"S3Uri": "s3://b/in/"},
            output_data_config={"S3Uri": "s3://b/out"},
            data_access_role_arn=ROLE,
            number_of_topics=2,
        )
        job = started["JobId"]
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        said = await world.sentiment.describe_topics_detection_job(call(), job_id=job)
        about = said["TopicsDetectionJobProperties"]
        assert about["NumberOfTopics"] == 2
        archive = world.read(about["OutputDataConfig"]["S3Uri"])
        assert table(archive, "topic-terms.csv") == [
            ["topic", "term", "weight"],
            ["000", "soup", "0.75"],
            ["000", 'bread, or "loaf"', "0.25"],
            ["001", "goal", "1.0"],
        ]
        assert table(archive, "doc-topics.csv") == [
            ["docname", "topic", "proportion"],
            ["a.txt:0", "001", "1.0"],
            ["a.txt:2", "000", "0.75"],
            ["a.txt:2", "001", "0.25"],
        ]
        assert world.models.items == [{"texts": ["a goal", "soup and bread"], "topics": 2}]
        (used,) = world.recorded.used.values()
        assert (used.quantity, used.unit) == (1, "MB")

    scenario(tmp_path, body)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n\n", "no document that has text"),
        (b"w\n" * 100_001, "SIZE_LIMIT_EXCEEDED"),
        ((b"w" * 999_999 + b"\n") * 11, "SIZE_LIMIT_EXCEEDED"),
    ],
)
def test_a_collection_without_text_or_too_large_fails_and_says_why(
    tmp_path: Path, data: bytes, message: str
) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", data)
        started = await world.sentiment.start_topics_detection_job(
            call(),
            input_data_config={"S3Uri": "s3://b/in/"},
            output_data_config={"S3Uri": "s3://b/out"},
            data_access_role_arn=ROLE,
        )
        ended = await world.ended(started["JobId"])
        assert ended.status["JobStatus"] == "FAILED" and message in ended.status["Message"]
        assert not world.recorded.used

    scenario(tmp_path, body)


def test_what_was_found_before_a_kill_is_what_is_metered_after_it(tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put("in/a.txt", b"one\n")
        record, killed = world.recorded.record, asyncio.Event()

        def die(usage_id: str, usage: Usage, *, now: float) -> None:
            record(usage_id, usage, now=now)
            killed.set()
            raise asyncio.CancelledError

        world.recorded.record = die  # type: ignore[method-assign]
        first = asyncio.ensure_future(world.runner().run())
        job = await world.start()
        await killed.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        world.recorded.record = record  # type: ignore[method-assign]
        world.put("in/b.txt", b"two\n" * 9)
        second = asyncio.ensure_future(world.runner().run())
        assert (await world.ended(job)).status["JobStatus"] == "COMPLETED"
        (used,) = world.recorded.used.values()
        assert used.quantity == 3
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)

    asyncio.run(_alone(tmp_path, body))


async def _alone(folder: Path, body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Without a runner of the scenario's own."""
    world = World(folder)
    try:
        await asyncio.wait_for(body(world), 30)
    finally:
        world.objects.close()
