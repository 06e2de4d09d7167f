"""Comprehend's asynchronous jobs: start, describe, list, stop. ``job_runner`` does what they ask for."""

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.services import job_records
from modelyard.services.comprehend.job_kinds import KINDS, JobKind
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, only, present
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.resources import (
    Change,
    Json,
    Key,
    Resource,
    ResourceStore,
)

KIND = "comprehend-job"
_DATA: Members = {"S3Uri": EXECUTED, "InputFormat": EXECUTED, "DocumentReaderConfig": REFUSED}
_COMMON: Members = {
    "InputDataConfig": _DATA,
    "OutputDataConfig": {"S3Uri": EXECUTED, "KmsKeyId": REFUSED},
    "DataAccessRoleArn": RECORDED,
    "JobName": EXECUTED,
    "ClientRequestToken": EXECUTED,
    "Tags": EXECUTED,
}  # fmt: skip
_VOLUME: Members = {"VolumeKmsKeyId": REFUSED, "VpcConfig": REFUSED}
_REDACTION: Members = {
    "PiiEntityTypes": EXECUTED, "MaskMode": EXECUTED, "MaskCharacter": EXECUTED
}  # fmt: skip
_OF_TEXT: Members = {**_COMMON, **_VOLUME, "LanguageCode": EXECUTED}
START: Mapping[str, Members] = {
    "StartDominantLanguageDetectionJob": {**_COMMON, **_VOLUME},
    "StartEntitiesDetectionJob": {
        **_OF_TEXT, "EntityRecognizerArn": EXECUTED, "FlywheelArn": REFUSED
    },
    "StartKeyPhrasesDetectionJob": _OF_TEXT,
    "StartDocumentClassificationJob": {
        **_COMMON, **_VOLUME, "DocumentClassifierArn": EXECUTED, "FlywheelArn": REFUSED
    },
    "StartSentimentDetectionJob": _OF_TEXT,
    "StartTopicsDetectionJob": {**_COMMON, **_VOLUME, "NumberOfTopics": EXECUTED},
    "StartPiiEntitiesDetectionJob": {
        **_COMMON,
        "LanguageCode": EXECUTED,
        "Mode": only("ONLY_OFFSETS", "ONLY_REDACTION"),
        "RedactionConfig": _REDACTION,
    },
}  # fmt: skip
_SHOWN = (
    "JobName",
    "LanguageCode",
    "DocumentClassifierArn",
    "EntityRecognizerArn",
    "NumberOfTopics",
    "DataAccessRoleArn",
    "Mode",
    "RedactionConfig",
)
ENDED = job_records.ENDED
_DONE = ("COMPLETED", "FAILED")
_INPUT_DEFAULTS = {"InputFormat": "ONE_DOC_PER_LINE"}


class Jobs:
    """What the operations of every kind of job share."""

    def __init__(
        self, *, store: ResourceStore, clock: Clock, random: RandomSource, roles: Roles
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._roles = roles

    async def start(
        self,
        kind: JobKind,
        call: Call,
        given: Mapping[str, Any],
        *,
        hold: Callable[[], tuple[Change, ...]] = tuple,
    ) -> Json:
        """The same token with the same input is the same job; ``hold`` is written with it. Raises ``ServiceError``."""
        members = present(given)
        operation = f"Start{kind.name}Job"
        check(operation, START[operation], members)
        self._roles.check(call, members.get("DataAccessRoleArn"))
        token = members.pop("ClientRequestToken", "") or self._random.hex(32)
        identity = job_records.job_id(call, kind.name, token)
        key = Key(kind=KIND, account=call.account, region=call.region, name=identity)
        taken = ServiceError(
            "ResourceInUseException",
            "The ClientRequestToken was used for another job; use another one.",
        )
        spec = {"Job": kind.name, **members}
        status = await job_records.submit(self._store, key, spec, taken=taken, hold=hold)
        return present(
            {
                "JobId": identity,
                "JobArn": _arn(key, kind),
                "JobStatus": status,
                "DocumentClassifierArn": spec.get("DocumentClassifierArn"),
            }
        )

    def describe(self, kind: JobKind, call: Call, job_id: str) -> Json:
        """Raises ``JobNotFoundException``."""
        return {kind.properties: _properties(self._find(kind, call, job_id), kind)}

    def list(  # one for each filter that there is
        self,
        kind: JobKind,
        call: Call,
        filter: Json | None,
        next_token: str | None,
        max_results: int | None,
    ) -> Json:
        """The newest first."""
        jobs = self._store.list(KIND, account=call.account, region=call.region)
        found, token = job_records.listed(
            call,
            [one for one in jobs if one.spec["Job"] == kind.name],
            present(filter or {}),
            after="SubmitTimeAfter",
            before="SubmitTimeBefore",
            page_size=max_results,
            next_token=next_token,
        )
        shown = [_properties(one, kind) for one in found]
        return present({f"{kind.properties}List": shown, "NextToken": token})

    async def stop(self, kind: JobKind, call: Call, job_id: str) -> Json:
        """One that was stopped stays as it is. Raises ``JobNotFoundException``, and ``InvalidRequestException`` for one that is
        done."""
        status = await job_records.stop(self._store, lambda: self._find(kind, call, job_id))
        if status in _DONE:
            raise ServiceError(
                "InvalidRequestException", f"The job {job_id} is {status}: it cannot be stopped."
            )
        return {"JobId": job_id, "JobStatus": status}

    def _find(self, kind: JobKind, call: Call, job_id: str) -> Resource:
        key = Key(kind=KIND, account=call.account, region=call.region, name=job_id)
        found = self._store.get(key)
        if found is None or found.spec["Job"] != kind.name:
            raise ServiceError(
                "JobNotFoundException", f"The specified job was not found: {job_id}."
            )
        return found


def output_uri(key: Key, spec: Json) -> str:
    """Where the output of a job is: an archive, or the folder of a job about personal data."""
    kind = KINDS[spec["Job"]]
    folder = spec["OutputDataConfig"]["S3Uri"].rstrip("/")
    place = f"{folder}/{key.account}-{kind.label}-{key.name}/output/"
    return place if kind.file is None else f"{place}output.tar.gz"


def _properties(resource: Resource, kind: JobKind) -> Json:
    spec, status = resource.spec, resource.status
    return present(
        {
            "JobId": resource.key.name,
            "JobArn": _arn(resource.key, kind),
            "SubmitTime": resource.created_at,
            **{name: spec.get(name) for name in _SHOWN},
            "InputDataConfig": {**_INPUT_DEFAULTS, **spec["InputDataConfig"]},
            "OutputDataConfig": {"S3Uri": output_uri(resource.key, spec)},
            "JobStatus": status["JobStatus"],
            "Message": status.get("Message"),
            "EndTime": status.get("EndTime"),
        }
    )


def _arn(key: Key, kind: JobKind) -> str:
    return str(
        Arn(
            service="comprehend",
            region=key.region,
            account=key.account,
            resource=f"{kind.arn_type}/{key.name}",
        )
    )
