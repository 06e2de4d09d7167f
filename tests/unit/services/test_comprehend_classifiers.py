"""Comprehend's classifiers as resources: who uses one, what is hosted, and that neither is lost in a race."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from modelyard.ai.catalogue import Ready
from modelyard.ai.questions import Finding, Item
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import SeededRandom
from modelyard.services.comprehend.classifiers import Classifiers
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.job_operations import DetectionJobs
from modelyard.services.comprehend.jobs import Jobs
from modelyard.services.comprehend.model_endpoints import ModelEndpoints
from modelyard.services.metering import Metering
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.resources import Key, Update
from modelyard.store.usage import Usage
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ROLE = "arn:aws:iam::123456789012:role/x"
DATA = {"S3Uri": "s3://b/in/"}


class Hosting:
    """Knows what is hosted; answers each text alike."""

    def __init__(self) -> None:
        self.hosted: set[str] = set()
        self.meanwhile: list[Coroutine[Any, Any, Any]] = []

    async def wish(self, ready: Ready) -> None:
        self.hosted.add(ready.pack.name)

    async def forget(self, name: str) -> None:
        for one in self.meanwhile:
            await one
        self.meanwhile = []
        self.hosted.discard(name)

    def state(self, ready: Ready) -> tuple[str, str]:
        return ("IN_SERVICE" if ready.pack.name in self.hosted else "CREATING"), ""

    async def ask_pack(
        self, call: Call, ready: Ready, task: str, items: Sequence[Item]
    ) -> list[Finding]:
        return [Finding(result={"scores": [("A", 0.75), ("B", 0.25)]}) for _ in items]


class Recorded:
    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        self.used.setdefault(usage_id, usage)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.hosting, self.recorded = Hosting(), Recorded()
        roles, random = Roles(store=self.store, strict=False), SeededRandom(1)
        self.custom = CustomModels(store=self.store, models=self.hosting)  # type: ignore[arg-type]
        self.classifiers = Classifiers(
            store=self.store,
            random=random,
            roles=roles,
            models=self.hosting,  # type: ignore[arg-type]
        )
        self.endpoints = ModelEndpoints(
            store=self.store,
            roles=roles,
            models=self.custom,
            metering=Metering(usage=self.recorded, clock=self.clock),
        )
        jobs = Jobs(store=self.store, clock=self.clock, random=random, roles=roles)
        self.jobs = DetectionJobs(jobs=jobs, custom=self.custom)

    async def create(self, name: str = "c", **more: Any) -> str:
        given = {"data_access_role_arn": ROLE, "input_data_config": DATA, "language_code": "en"}
        made = await self.classifiers.create_document_classifier(
            call(), **{"document_classifier_name": name, **given, **more}
        )
        return str(made["DocumentClassifierArn"])

    async def become(self, name: str, status: str) -> None:
        key = Key(kind="comprehend-classifier", account="1", region="r", name=name)
        found = self.store.get(key)
        assert found is not None
        await self.store.write(Update(key=key, version=found.version, status={"Status": status}))

    async def trained(self, name: str = "c") -> str:
        arn = await self.create(name)
        await self.become(name, "TRAINED")
        return arn

    async def status(self, arn: str) -> str:
        said = await self.classifiers.describe_document_classifier(
            call(), document_classifier_arn=arn
        )
        return str(said["DocumentClassifierProperties"]["Status"])

    async def endpoint(self, arn: str, name: str = "e", **more: Any) -> str:
        made = await self.endpoints.create_endpoint(
            call(), endpoint_name=name, model_arn=arn, desired_inference_units=1, **more
        )
        return str(made["EndpointArn"])


def call() -> Call:
    principal = Principal(kind="root", arn="", id="1", account="1")
    return Call(
        principal=principal,
        account="1",
        region="r",
        action="comprehend:X",
        request_id="q",
        deadline=9.0,
    )


def run(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story(World()))


async def code_of(answer: Coroutine[Any, Any, Any]) -> str:
    with pytest.raises(ServiceError) as caught:
        await answer
    return caught.value.code


def test_an_endpoint_and_a_deletion_at_once_leave_no_endpoint_without_its_classifier() -> None:
    async def story(world: World) -> None:
        arn = await world.trained()
        delete = world.classifiers.delete_document_classifier
        both = await asyncio.gather(
            world.endpoint(arn),
            delete(call(), document_classifier_arn=arn),
            return_exceptions=True,
        )
        (refused,) = [one for one in both if isinstance(one, ServiceError)]
        listed = (await world.endpoints.list_endpoints(call()))["EndpointPropertiesList"]
        if refused.code == "ResourceInUseException":
            assert [one["ModelArn"] for one in listed] == [arn] and world.hosting.hosted
        else:
            assert refused.code == "ResourceUnavailableException" and not listed

    run(story)


def test_endpoints_are_listed_by_one_filter_at_a_time() -> None:
    async def story(world: World) -> None:
        listed = world.endpoints.list_endpoints
        assert not (await listed(call(), filter={"Status": "IN_SERVICE"}))["EndpointPropertiesList"]
        two = {"Status": "IN_SERVICE", "ModelArn": "arn:aws:comprehend:us-east-1:1:x"}
        assert await code_of(listed(call(), filter=two)) == "InvalidRequestException"

    run(story)


def test_what_was_not_given_is_shown_as_awss_default_and_a_foreign_token_is_refused() -> None:
    async def story(world: World) -> None:
        arn = await world.create()
        describe = world.classifiers.describe_document_classifier
        said = await describe(call(), document_classifier_arn=arn)
        about = said["DocumentClassifierProperties"]
        assert about["InputDataConfig"] == {"DataFormat": "COMPREHEND_CSV", **DATA}
        assert (about["Mode"], about["OutputDataConfig"]) == ("MULTI_CLASS", {})
        for listed in (
            world.classifiers.list_document_classifiers(call(), next_token="no token"),
            world.classifiers.list_document_classifier_summaries(call(), next_token="no token"),
            world.endpoints.list_endpoints(call(), next_token="no token"),
            world.jobs.list_topics_detection_jobs(call(), next_token="no token"),
        ):
            assert await code_of(listed) == "InvalidRequestException"

    run(story)


def test_an_update_moves_to_the_other_model_and_lets_the_first_go() -> None:
    async def story(world: World) -> None:
        first, second = await world.trained("one"), await world.trained("two")
        endpoint = await world.endpoint(first)
        (before,) = world.hosting.hosted
        await world.endpoints.update_endpoint(
            call(), endpoint_arn=endpoint, desired_model_arn=second, desired_inference_units=3
        )
        (after,) = world.hosting.hosted
        assert after != before
        said = await world.endpoints.describe_endpoint(call(), endpoint_arn=endpoint)
        about = said["EndpointProperties"]
        assert (about["ModelArn"], about["DesiredInferenceUnits"]) == (second, 3)
        await world.classifiers.delete_document_classifier(call(), document_classifier_arn=first)
        delete = world.classifiers.delete_document_classifier
        assert (
            await code_of(delete(call(), document_classifier_arn=second))
            == "ResourceInUseException"
        )
        await world.endpoints.delete_endpoint(call(), endpoint_arn=endpoint)
        assert not world.hosting.hosted

    run(story)


def test_an_update_and_a_deletion_at_once_leave_nothing_hosted() -> None:
    async def story(world: World) -> None:
        first, second = await world.trained("one"), await world.trained("two")
        endpoint = await world.endpoint(first)
        await asyncio.gather(
            world.endpoints.update_endpoint(
                call(), endpoint_arn=endpoint, desired_model_arn=second
            ),
            world.endpoints.delete_endpoint(call(), endpoint_arn=endpoint),
        )
        assert not (await world.endpoints.list_endpoints(call()))["EndpointPropertiesList"]
        assert not world.hosting.hosted

    run(story)


def test_who_comes_while_a_model_is_let_go_has_it_hosted() -> None:
    async def story(world: World) -> None:
        arn = await world.trained()
        endpoint = await world.endpoint(arn)
        world.hosting.meanwhile = [world.endpoint(arn, "next")]
        await world.endpoints.delete_endpoint(call(), endpoint_arn=endpoint)
        assert world.hosting.hosted

    run(story)


def test_after_a_restart_what_is_used_is_hosted_and_nothing_else() -> None:
    async def story(world: World) -> None:
        used, unused = await world.trained("used"), await world.trained("unused")
        await world.endpoint(used)
        wanted = set(world.hosting.hosted)
        world.hosting.hosted.clear()
        await world.custom.wish(unused, call())
        await world.custom.resume()
        assert world.hosting.hosted == wanted

    run(story)


def test_the_same_token_is_the_same_classifier_and_another_input_is_refused() -> None:
    async def story(world: World) -> None:
        first = await world.create(client_request_token="t")
        assert await world.create(client_request_token="t") == first
        other = world.create(client_request_token="t", mode="MULTI_LABEL")
        assert await code_of(other) == "ResourceInUseException"
        assert await code_of(world.create()) == "ResourceInUseException"
        assert await world.create(version_name="v2") == f"{first}/version/v2"

    run(story)


def test_the_same_token_is_the_same_endpoint() -> None:
    async def story(world: World) -> None:
        arn = await world.trained()
        first = await world.endpoint(arn, client_request_token="t")
        assert await world.endpoint(arn, client_request_token="t") == first
        assert await code_of(world.endpoint(arn)) == "ResourceInUseException"

    run(story)


def test_a_training_is_stopped_and_one_that_has_ended_stays() -> None:
    async def story(world: World) -> None:
        arn = await world.create()
        stop = world.classifiers.stop_training_document_classifier
        delete = world.classifiers.delete_document_classifier
        code = await code_of(delete(call(), document_classifier_arn=arn))
        assert code == "ResourceUnavailableException"
        await stop(call(), document_classifier_arn=arn)
        assert await world.status(arn) == "STOP_REQUESTED"
        await world.become("c", "TRAINED")
        await stop(call(), document_classifier_arn=arn)
        assert await world.status(arn) == "TRAINED"

    run(story)


def test_a_document_is_metered_once_and_one_that_is_refused_never() -> None:
    async def story(world: World) -> None:
        arn = await world.trained()
        endpoint = await world.endpoint(arn)
        classify = world.endpoints.classify_document
        said = await classify(call(), endpoint_arn=endpoint, text="x" * 1_001)
        assert said == {"Classes": [{"Name": "A", "Score": 0.75}, {"Name": "B", "Score": 0.25}]}
        (used,) = world.recorded.used.values()
        assert (used.usage_type, used.quantity) == ("ClassifyDocument", 11)
        size = await code_of(classify(call(), endpoint_arn=endpoint, text="é" * 50_001))
        assert size == "TextSizeLimitExceededException"
        empty = await code_of(classify(call(), endpoint_arn=endpoint, text=""))
        assert empty == "InvalidRequestException"
        assert len(world.recorded.used) == 1

    run(story)


def test_a_job_needs_a_trained_classifier_and_keeps_it() -> None:
    async def story(world: World) -> None:
        start = world.jobs.start_document_classification_job
        given: dict[str, Any] = {
            "input_data_config": DATA, "output_data_config": DATA, "data_access_role_arn": ROLE,
        }  # fmt: skip
        assert await code_of(start(call(), **given)) == "InvalidRequestException"
        arn = await world.create()
        early = start(call(), document_classifier_arn=arn, **given)
        assert await code_of(early) == "ResourceUnavailableException"
        await world.become("c", "TRAINED")
        job = await start(call(), document_classifier_arn=arn, **given)
        assert job["DocumentClassifierArn"] == arn
        delete = world.classifiers.delete_document_classifier
        code = await code_of(delete(call(), document_classifier_arn=arn))
        assert code == "ResourceInUseException"

    run(story)
