"""What the models that users train have in common, classifiers of documents and recognisers of entities: their ARNs,
their life as resources, and who uses one. ``control.text_training`` trains what they ask for.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.ai.catalogue import Licence, Pack, Ready
from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.listing import Entry, Query, page
from modelyard.services.changes import change
from modelyard.services.comprehend.jobs import ENDED as JOB_ENDED
from modelyard.services.comprehend.jobs import KIND as JOB_KIND
from modelyard.services.hosted_models import HostedModels
from modelyard.services.job_records import invalid_request
from modelyard.services.members import present
from modelyard.services.sagemaker.resources import seconds
from modelyard.store.object_info import BucketMissing, parse_s3_uri
from modelyard.store.resources import (
    AlreadyExists,
    Create,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

ENDPOINT_KIND = "comprehend-endpoint"
RESULTS_DEFAULT = 100
TRAINED = ("TRAINED", "TRAINED_WITH_WARNING")
_UNFINISHED = ("SUBMITTED", "TRAINING")
_TOLD = ("Status", "Message", "EndTime", "TrainingStartTime", "TrainingEndTime")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """``name`` is AWS's member that names one, ``arn`` the one that a job names it by; ``noun`` is for messages."""

    kind: str
    arn_type: str
    name: str
    arn: str
    noun: str
    describe: str
    engine: str
    task: str

    @property
    def endpoint_type(self) -> str:
        """Of an endpoint's ARN."""
        return f"{self.arn_type}-endpoint"


CLASSIFIER = ModelKind(
    kind="comprehend-classifier",
    arn_type="document-classifier",
    name="DocumentClassifierName",
    arn="DocumentClassifierArn",
    noun="document classifier",
    describe="DescribeDocumentClassifier",
    engine="classifier",
    task="classify",
)
RECOGNISER = ModelKind(
    kind="comprehend-recogniser",
    arn_type="entity-recognizer",
    name="RecognizerName",
    arn="EntityRecognizerArn",
    noun="entity recognizer",
    describe="DescribeEntityRecognizer",
    engine="recogniser",
    task="recognise",
)
MODEL_KINDS = (CLASSIFIER, RECOGNISER)
_OF_KIND: Mapping[str, ModelKind] = {one.kind: one for one in MODEL_KINDS}


def kind_of(key: Key) -> ModelKind:
    """Of a trained model's key."""
    return _OF_KIND[key.kind]


def model_arn(key: Key) -> str:
    """``…:document-classifier/NAME`` or ``…/NAME/version/VERSION``."""
    resource = f"{kind_of(key).arn_type}/{key.name}"
    return str(Arn(service="comprehend", region=key.region, account=key.account, resource=resource))


def find_model(store: ResourceStore, call: Call, arn: str, kind: ModelKind | None = None) -> Resource:  # fmt: skip
    """Of the caller's account and region, and of the kind. Raises ``ResourceNotFoundException``."""
    parsed = Arn.parse(arn)
    type, _, name = parsed.resource.partition("/")
    found = None
    if (parsed.account, parsed.region) == (call.account, call.region):
        for one in MODEL_KINDS if kind is None else (kind,):
            if one.arn_type == type:
                key = Key(kind=one.kind, account=call.account, region=call.region, name=name)
                found = store.get(key)
    if found is None:
        raise ServiceError(
            "ResourceNotFoundException", f"The specified resource was not found: {arn}.", status=404
        )
    return found


def user_of(store: ResourceStore, key: Key) -> str:
    """An endpoint or a job that has not ended and names the model; empty: nobody does."""
    arn = model_arn(key)
    for one in store.list(ENDPOINT_KIND, account=key.account, region=key.region):
        if one.spec["ModelArn"] == arn:
            return f"The endpoint {one.key.name}"
    for one in store.list(JOB_KIND, account=key.account, region=key.region):
        named = one.spec.get(kind_of(key).arn)
        if named == arn and one.status["JobStatus"] not in JOB_ENDED:
            return f"The job {one.key.name}"
    return ""


def trained_model(resource: Resource) -> Ready | None:
    """What can be hosted; None before the training is over."""
    if resource.status["Status"] not in TRAINED:
        return None
    name, kind = resource.spec["Model"], kind_of(resource.key)
    pack = Pack(
        name=name,
        version="1",
        title=f"The {kind.noun} {resource.key.name}",
        engine=kind.engine,
        licence=Licence(code="Apache-2.0", weights="the user's own"),
        serves=(),
    )
    return Ready(pack=pack, archive=Path(name), key=f"{name}-1")


def check_addresses(addresses: Mapping[str, Any]) -> None:
    """Raises ``InvalidRequestException`` for what is no address of S3; absent ones pass."""
    for name, uri in addresses.items():
        if uri:
            try:
                parse_s3_uri(uri)
            except (BucketMissing, ValidationError, ValueError) as error:
                raise ServiceError("InvalidRequestException", f"{name}: {error}") from None


def told(resource: Resource, shown: tuple[str, ...]) -> Json:
    """What the description of every trained model has; ``shown`` of its spec."""
    return {
        kind_of(resource.key).arn: model_arn(resource.key),
        "SubmitTime": resource.created_at,
        **{name: resource.spec.get(name) for name in shown},
        **{name: resource.status.get(name) for name in _TOLD},
    }


class TrainedModels:
    """Of one kind: create, list, stop, delete."""

    def __init__(
        self, kind: ModelKind, *, store: ResourceStore, random: RandomSource, models: HostedModels
    ) -> None:
        self._kind = kind
        self._store = store
        self._random = random
        self._models = models

    async def create(self, spec: Json, call: Call, *, version: str | None, token: str | None) -> Json:  # fmt: skip
        """The same token with the same input is the same model."""
        name = spec[self._kind.name]
        key = Key(
            kind=self._kind.kind,
            account=call.account,
            region=call.region,
            name=f"{name}/version/{version}" if version else name,
        )
        asked = f"{key.account}/{key.region}/{key.name}/{token or self._random.hex(32)}"
        if self._kind is not CLASSIFIER:
            asked = f"{self._kind.arn_type}/{asked}"
        spec["Model"] = f"custom-{hashlib.sha256(asked.encode()).hexdigest()[:24]}"
        uri = (spec.get("OutputDataConfig") or {}).get("S3Uri")
        if uri:
            label = key.name.replace("/", "-")
            place = f"{key.account}-CLR-{label}-{spec['Model'][-12:]}/output/output.tar.gz"
            spec["OutputUri"] = f"{uri.rstrip('/')}/{place}"
        try:
            await self._store.write(Create(key=key, spec=spec, status={"Status": "SUBMITTED"}))
        except AlreadyExists:
            found = self._store.get(key)
            if found is None or found.spec != spec:
                raise ServiceError(
                    "ResourceInUseException",
                    f"There is a trained model {key.name} of this kind already; choose another name or VersionName.",
                ) from None
        return {self._kind.arn: model_arn(key)}

    def find(self, call: Call, arn: str) -> Resource:
        """Raises ``ResourceNotFoundException``."""
        return find_model(self._store, call, arn, self._kind)

    def newest(
        self,
        call: Call,
        filter: Json | None,
        next_token: str | None,
        max_results: int | None,
    ) -> tuple[list[Resource], str | None]:
        """A page of them, the newest first, and where the next one begins."""
        wanted = present(filter or {})
        if len(wanted) > 1:
            raise ServiceError("InvalidFilterException", "A filter has one member only.")
        name = wanted.get(self._kind.name)
        known = {
            one.key.name: one
            for one in self._all(call)
            if name in (None, one.spec[self._kind.name])
        }
        found = page(
            (
                Entry(name=name, created_at=one.created_at, status=one.status["Status"])
                for name, one in known.items()
            ),
            Query(
                scope=f"{call.action}/{call.account}/{call.region}",
                descending=True,
                created_after=seconds(wanted.get("SubmitTimeAfter")),
                created_before=seconds(wanted.get("SubmitTimeBefore")),
                status=wanted.get("Status"),
                max_results=max_results or RESULTS_DEFAULT,
                next_token=next_token,
                refusal=invalid_request,
            ),
        )
        return [known[name] for name in found.names], found.next_token

    def _all(self, call: Call) -> Sequence[Resource]:
        return self._store.list(self._kind.kind, account=call.account, region=call.region)

    def summaries(
        self, call: Call, next_token: str | None, max_results: int | None
    ) -> tuple[list[Json], str | None]:
        """Each name once, with its latest version, and where the next page begins."""
        versions: dict[str, list[Resource]] = {}
        for one in self._all(call):
            versions.setdefault(one.spec[self._kind.name], []).append(one)
        found = page(
            (Entry(name=name) for name in versions),
            Query(
                scope=f"{call.action}/{call.account}/{call.region}",
                sort_by="Name",
                max_results=max_results or RESULTS_DEFAULT,
                next_token=next_token,
                refusal=invalid_request,
            ),
        )
        return [self._summary(versions[name]) for name in found.names], found.next_token

    def _summary(self, versions: list[Resource]) -> Json:
        latest = max(versions, key=lambda one: one.created_at)
        return present(
            {
                self._kind.name: latest.spec[self._kind.name],
                "NumberOfVersions": len(versions),
                "LatestVersionCreatedAt": latest.created_at,
                "LatestVersionName": latest.spec.get("VersionName"),
                "LatestVersionStatus": latest.status["Status"],
            }
        )

    async def stop(self, arn: str, call: Call) -> None:
        """One whose training has ended stays as it is."""

        def decide(_: Resource | None) -> Update:
            found = self.find(call, arn)
            status = dict(found.status)
            if status["Status"] in _UNFINISHED:
                status["Status"] = "STOP_REQUESTED"
            return Update(key=found.key, version=found.version, status=status)

        await change(self._store, self.find(call, arn).key, decide)

    async def delete(self, arn: str, call: Call) -> None:
        """Its model's files go with it, as soon as the reconciler has seen to it."""
        key = self.find(call, arn).key

        def decide(_: Resource | None) -> Update:
            found = self.find(call, arn)
            if found.status["Status"] in (*_UNFINISHED, "STOP_REQUESTED"):
                raise ServiceError(
                    "ResourceUnavailableException",
                    f"The {self._kind.noun} is being trained: stop its training first.",
                    status=404,
                )
            user = user_of(self._store, key)
            if user:
                raise ServiceError(
                    "ResourceInUseException",
                    f"{user} uses the {self._kind.noun}: end that first.",
                )
            status = {**found.status, "Status": "DELETING"}
            return Update(key=key, version=found.version, status=status)

        deleted = await change(self._store, key, decide)
        await self._models.forget(deleted.spec["Model"])
