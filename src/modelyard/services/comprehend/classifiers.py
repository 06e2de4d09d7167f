"""Custom classifiers as resources: create, describe, list, stop, delete. ``control.text_training`` trains what they ask for."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.ai.catalogue import Licence, Pack, Ready
from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.listing import Entry, Query, page
from modelyard.domain.text_training import MULTI_CLASS
from modelyard.services.changes import change
from modelyard.services.comprehend.jobs import ENDED as JOB_ENDED
from modelyard.services.comprehend.jobs import KIND as JOB_KIND
from modelyard.services.hosted_models import HostedModels
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, only, present
from modelyard.services.sagemaker.resources import Roles, seconds
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

KIND, ENDPOINT_KIND = "comprehend-classifier", "comprehend-endpoint"
ARN_TYPE = "document-classifier"
RESULTS_DEFAULT = 100
_INPUT: Members = {
    "DataFormat": only("COMPREHEND_CSV"),
    "S3Uri": EXECUTED,
    "TestS3Uri": EXECUTED,
    "LabelDelimiter": EXECUTED,
    "AugmentedManifests": REFUSED,
    "DocumentType": only("PLAIN_TEXT_DOCUMENT"),
    "Documents": REFUSED,
    "DocumentReaderConfig": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateDocumentClassifier": {
        "DocumentClassifierName": EXECUTED,
        "VersionName": EXECUTED,
        "DataAccessRoleArn": RECORDED,
        "Tags": RECORDED,
        "InputDataConfig": _INPUT,
        "OutputDataConfig": {
            "S3Uri": EXECUTED, "KmsKeyId": REFUSED, "FlywheelStatsS3Prefix": REFUSED
        },
        "ClientRequestToken": EXECUTED,
        "LanguageCode": EXECUTED,
        "VolumeKmsKeyId": REFUSED,
        "VpcConfig": REFUSED,
        "Mode": EXECUTED,
        "ModelKmsKeyId": REFUSED,
        "ModelPolicy": REFUSED,
    },
}  # fmt: skip
_SHOWN = (
    "LanguageCode",
    "InputDataConfig",
    "DataAccessRoleArn",
    "Mode",
    "VersionName",
)
_TOLD = ("Status", "Message", "EndTime", "TrainingStartTime", "TrainingEndTime")
_UNFINISHED = ("SUBMITTED", "TRAINING")


class Classifiers:
    """Document classifiers that users train on texts of their own."""

    def __init__(
        self, *, store: ResourceStore, random: RandomSource, roles: Roles, models: HostedModels
    ) -> None:
        self._store = store
        self._random = random
        self._roles = roles
        self._models = models

    async def create_document_classifier(
        self,
        call: Call,
        *,
        document_classifier_name: str,
        data_access_role_arn: str,
        input_data_config: Json,
        language_code: str,
        version_name: str | None = None,
        tags: Sequence[Json] | None = None,
        output_data_config: Json | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        mode: str | None = None,
        model_kms_key_id: str | None = None,
        model_policy: str | None = None,
    ) -> Json:
        """The same token with the same input is the same classifier."""
        spec = present(
            {
                "DocumentClassifierName": document_classifier_name,
                "VersionName": version_name,
                "DataAccessRoleArn": data_access_role_arn,
                "Tags": tags,
                "InputDataConfig": input_data_config,
                "OutputDataConfig": output_data_config,
                "LanguageCode": language_code,
                "VolumeKmsKeyId": volume_kms_key_id,
                "VpcConfig": vpc_config,
                "Mode": mode or MULTI_CLASS,
                "ModelKmsKeyId": model_kms_key_id,
                "ModelPolicy": model_policy,
            }
        )
        check("CreateDocumentClassifier", MEMBERS["CreateDocumentClassifier"], spec)
        self._roles.check(call, data_access_role_arn)
        _check_input(input_data_config)
        key = _key(call, document_classifier_name, version_name)
        token = client_request_token or self._random.hex(32)
        asked = f"{key.account}/{key.region}/{key.name}/{token}"
        spec["Model"] = f"custom-{hashlib.sha256(asked.encode()).hexdigest()[:24]}"
        uri = (output_data_config or {}).get("S3Uri")
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
                    f"There is a document classifier {key.name} already; choose another name or VersionName.",
                ) from None
        return {"DocumentClassifierArn": classifier_arn(key)}

    async def describe_document_classifier(
        self, call: Call, *, document_classifier_arn: str
    ) -> Json:
        found = find_classifier(self._store, call, document_classifier_arn)
        return {"DocumentClassifierProperties": _properties(found)}

    async def list_document_classifiers(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        """The newest first."""
        wanted = present(filter or {})
        if len(wanted) > 1:
            raise ServiceError("InvalidFilterException", "A filter has one member only.")
        name = wanted.get("DocumentClassifierName")
        known = {
            one.key.name: one
            for one in self._store.list(KIND, account=call.account, region=call.region)
            if name in (None, one.spec["DocumentClassifierName"])
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
            ),
        )
        shown = [_properties(known[name]) for name in found.names]
        return present({"DocumentClassifierPropertiesList": shown, "NextToken": found.next_token})

    async def list_document_classifier_summaries(
        self, call: Call, *, next_token: str | None = None, max_results: int | None = None
    ) -> Json:
        """Each name once, with its latest version."""
        versions: dict[str, list[Resource]] = {}
        for one in self._store.list(KIND, account=call.account, region=call.region):
            versions.setdefault(one.spec["DocumentClassifierName"], []).append(one)
        found = page(
            (Entry(name=name) for name in versions),
            Query(
                scope=f"{call.action}/{call.account}/{call.region}",
                sort_by="Name",
                max_results=max_results or RESULTS_DEFAULT,
                next_token=next_token,
            ),
        )
        shown = [_summary(name, versions[name]) for name in found.names]
        return present({"DocumentClassifierSummariesList": shown, "NextToken": found.next_token})

    async def stop_training_document_classifier(
        self, call: Call, *, document_classifier_arn: str
    ) -> Json:
        """One whose training has ended stays as it is."""

        def decide(_: Resource | None) -> Update:
            found = find_classifier(self._store, call, document_classifier_arn)
            status = dict(found.status)
            if status["Status"] in _UNFINISHED:
                status["Status"] = "STOP_REQUESTED"
            return Update(key=found.key, version=found.version, status=status)

        key = find_classifier(self._store, call, document_classifier_arn).key
        await change(self._store, key, decide)
        return {}

    async def delete_document_classifier(self, call: Call, *, document_classifier_arn: str) -> Json:
        """Its model's files go with it, as soon as the reconciler has seen to it."""
        key = find_classifier(self._store, call, document_classifier_arn).key

        def decide(_: Resource | None) -> Update:
            found = find_classifier(self._store, call, document_classifier_arn)
            if found.status["Status"] in (*_UNFINISHED, "STOP_REQUESTED"):
                raise ServiceError(
                    "ResourceUnavailableException",
                    "The classifier is being trained: stop its training first.",
                    status=404,
                )
            user = user_of(self._store, key)
            if user:
                raise ServiceError(
                    "ResourceInUseException", f"{user} uses the classifier: end that first."
                )
            status = {**found.status, "Status": "DELETING"}
            return Update(key=key, version=found.version, status=status)

        deleted = await change(self._store, key, decide)
        await self._models.forget(deleted.spec["Model"])
        return {}


def find_classifier(store: ResourceStore, call: Call, arn: str) -> Resource:
    """Of the caller's account and region. Raises ``ResourceNotFoundException``."""
    key = classifier_key(arn)
    is_own = (key.account, key.region) == (call.account, call.region)
    found = store.get(key) if is_own and f":{ARN_TYPE}/" in arn else None
    if found is None:
        raise ServiceError(
            "ResourceNotFoundException", f"The specified resource was not found: {arn}.", status=404
        )
    return found


def classifier_key(arn: str) -> Key:
    """Of the classifier that has this ARN."""
    parsed = Arn.parse(arn)
    name = parsed.resource.removeprefix(f"{ARN_TYPE}/")
    return Key(kind=KIND, account=parsed.account, region=parsed.region, name=name)


def user_of(store: ResourceStore, key: Key) -> str:
    """An endpoint or a job that has not ended and names the classifier; empty: nobody does."""
    arn = classifier_arn(key)
    for one in store.list(ENDPOINT_KIND, account=key.account, region=key.region):
        if one.spec["ModelArn"] == arn:
            return f"The endpoint {one.key.name}"
    for one in store.list(JOB_KIND, account=key.account, region=key.region):
        named = one.spec.get("DocumentClassifierArn")
        if named == arn and one.status["JobStatus"] not in JOB_ENDED:
            return f"The job {one.key.name}"
    return ""


def trained_model(resource: Resource) -> Ready | None:
    """What can be hosted; None before the training is over."""
    if resource.status["Status"] != "TRAINED":
        return None
    name = resource.spec["Model"]
    pack = Pack(
        name=name,
        version="1",
        title=f"The classifier {resource.key.name}",
        engine="classifier",
        licence=Licence(code="Apache-2.0", weights="the user's own"),
        serves=(),
    )
    return Ready(pack=pack, archive=Path(name), key=f"{name}-1")


def classifier_arn(key: Key) -> str:
    """``…:document-classifier/NAME`` or ``…/NAME/version/VERSION``."""
    return str(
        Arn(
            service="comprehend",
            region=key.region,
            account=key.account,
            resource=f"{ARN_TYPE}/{key.name}",
        )
    )


def _key(call: Call, name: str, version: str | None) -> Key:
    full = f"{name}/version/{version}" if version else name
    return Key(kind=KIND, account=call.account, region=call.region, name=full)


def _check_input(given: Json) -> None:
    """Raises ``InvalidRequestException`` where no training could begin."""
    if not given.get("S3Uri"):
        raise ServiceError("InvalidRequestException", "InputDataConfig needs an S3Uri.")
    for name in ("S3Uri", "TestS3Uri"):
        if given.get(name):
            try:
                parse_s3_uri(given[name])
            except (BucketMissing, ValidationError, ValueError) as error:
                raise ServiceError("InvalidRequestException", f"{name}: {error}") from None


def _properties(resource: Resource) -> Json:
    spec, status = resource.spec, resource.status
    output = spec.get("OutputDataConfig")
    if spec.get("OutputUri"):
        output = {"S3Uri": spec["OutputUri"]}
    return present(
        {
            "DocumentClassifierArn": classifier_arn(resource.key),
            "SubmitTime": resource.created_at,
            **{name: spec.get(name) for name in _SHOWN},
            **{name: status.get(name) for name in _TOLD},
            "OutputDataConfig": output,
            "ClassifierMetadata": _metadata(status.get("progress")),
        }
    )


def _metadata(about: Json | None) -> Json | None:
    if not about:
        return None
    metrics: Mapping[str, Any] = about["metrics"]
    named = {
        f"{''.join(part.capitalize() for part in name.split('_'))}".replace("F1", "F1Score"): value
        for name, value in metrics.items()
    }
    return present(
        {
            "NumberOfLabels": about["labels"],
            "NumberOfTrainedDocuments": about["trained"],
            "NumberOfTestDocuments": about["tested"],
            "EvaluationMetrics": named or None,
        }
    )


def _summary(name: str, versions: Sequence[Resource]) -> Json:
    latest = max(versions, key=lambda one: one.created_at)
    return present(
        {
            "DocumentClassifierName": name,
            "NumberOfVersions": len(versions),
            "LatestVersionCreatedAt": latest.created_at,
            "LatestVersionName": latest.spec.get("VersionName"),
            "LatestVersionStatus": latest.status["Status"],
        }
    )
