"""Custom recognisers of entities as resources: create, describe, list, stop, delete."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.domain.entity_training import TYPES_MAX
from modelyard.services.comprehend.trained_models import (
    RECOGNISER,
    TrainedModels,
    check_addresses,
    told,
)
from modelyard.services.hosted_models import HostedModels
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, only, present
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.resources import Json, Resource, ResourceStore

_INPUT: Members = {
    "DataFormat": only("COMPREHEND_CSV"),
    "EntityTypes": {"Type": EXECUTED},
    "Documents": {"S3Uri": EXECUTED, "TestS3Uri": EXECUTED, "InputFormat": EXECUTED},
    "Annotations": {"S3Uri": EXECUTED, "TestS3Uri": EXECUTED},
    "EntityList": {"S3Uri": EXECUTED},
    "AugmentedManifests": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateEntityRecognizer": {
        "RecognizerName": EXECUTED,
        "VersionName": EXECUTED,
        "DataAccessRoleArn": RECORDED,
        "Tags": EXECUTED,
        "InputDataConfig": _INPUT,
        "ClientRequestToken": EXECUTED,
        "LanguageCode": RECORDED,
        "VolumeKmsKeyId": REFUSED,
        "VpcConfig": REFUSED,
        "ModelKmsKeyId": REFUSED,
        "ModelPolicy": REFUSED,
    },
}
_SHOWN = ("LanguageCode", "DataAccessRoleArn", "VersionName")
_INPUT_DEFAULTS = {"DataFormat": "COMPREHEND_CSV"}
_DOCUMENTS_DEFAULTS = {"InputFormat": "ONE_DOC_PER_LINE"}


class Recognisers:
    """Entity recognizers that users train on documents of their own."""

    def __init__(
        self, *, store: ResourceStore, random: RandomSource, roles: Roles, models: HostedModels
    ) -> None:
        self._trained = TrainedModels(RECOGNISER, store=store, random=random, models=models)
        self._roles = roles

    async def create_entity_recognizer(
        self,
        call: Call,
        *,
        recognizer_name: str,
        data_access_role_arn: str,
        input_data_config: Json,
        language_code: str,
        version_name: str | None = None,
        tags: Sequence[Json] | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        model_kms_key_id: str | None = None,
        model_policy: str | None = None,
    ) -> Json:
        """The same token with the same input is the same recogniser; of any language, for it learns from its texts."""
        spec = present(
            {
                "RecognizerName": recognizer_name,
                "VersionName": version_name,
                "DataAccessRoleArn": data_access_role_arn,
                "Tags": tags,
                "InputDataConfig": input_data_config,
                "LanguageCode": language_code,
                "VolumeKmsKeyId": volume_kms_key_id,
                "VpcConfig": vpc_config,
                "ModelKmsKeyId": model_kms_key_id,
                "ModelPolicy": model_policy,
            }
        )
        check("CreateEntityRecognizer", MEMBERS["CreateEntityRecognizer"], spec)
        self._roles.check(call, data_access_role_arn)
        _check_input(input_data_config)
        return await self._trained.create(
            spec, call, version=version_name, token=client_request_token
        )

    async def describe_entity_recognizer(self, call: Call, *, entity_recognizer_arn: str) -> Json:
        found = self._trained.find(call, entity_recognizer_arn)
        return {"EntityRecognizerProperties": _properties(found)}

    async def list_entity_recognizers(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        """The newest first."""
        found, after = self._trained.newest(call, filter, next_token, max_results)
        shown = [_properties(one) for one in found]
        return present({"EntityRecognizerPropertiesList": shown, "NextToken": after})

    async def list_entity_recognizer_summaries(
        self, call: Call, *, next_token: str | None = None, max_results: int | None = None
    ) -> Json:
        """Each name once, with its latest version."""
        shown, after = self._trained.summaries(call, next_token, max_results)
        return present({"EntityRecognizerSummariesList": shown, "NextToken": after})

    async def stop_training_entity_recognizer(
        self, call: Call, *, entity_recognizer_arn: str
    ) -> Json:
        """One whose training has ended stays as it is."""
        await self._trained.stop(entity_recognizer_arn, call)
        return {}

    async def delete_entity_recognizer(self, call: Call, *, entity_recognizer_arn: str) -> Json:
        """Its model's files go with it, as soon as the reconciler has seen to it."""
        await self._trained.delete(entity_recognizer_arn, call)
        return {}


def _check_input(given: Json) -> None:
    """Raises ``InvalidRequestException`` where no training could begin."""
    documents, annotated = given.get("Documents"), given.get("Annotations")
    names = given.get("EntityList")
    if not documents:
        raise ServiceError("InvalidRequestException", "InputDataConfig needs Documents.")
    if bool(annotated) == bool(names):
        raise ServiceError(
            "InvalidRequestException", "InputDataConfig needs Annotations, or an EntityList."
        )
    if annotated and bool(annotated.get("TestS3Uri")) != bool(documents.get("TestS3Uri")):
        raise ServiceError(
            "InvalidRequestException",
            "Documents and Annotations of a test have to be given together.",
        )
    types = [one["Type"] for one in given["EntityTypes"]]
    if not 1 <= len(types) <= TYPES_MAX or len(set(types)) != len(types):
        raise ServiceError(
            "InvalidRequestException",
            f"EntityTypes has 1 to {TYPES_MAX} types, each once; this request has {len(types)}.",
        )
    check_addresses(
        {
            f"{name}.{member}": (given.get(name) or {}).get(member)
            for name in ("Documents", "Annotations", "EntityList")
            for member in ("S3Uri", "TestS3Uri")
        }
    )


def _properties(resource: Resource) -> Json:
    about, given = resource.status.get("progress"), resource.spec["InputDataConfig"]
    return present(
        {
            **told(resource, _SHOWN),
            "InputDataConfig": {
                **_INPUT_DEFAULTS,
                **given,
                "Documents": {**_DOCUMENTS_DEFAULTS, **given["Documents"]},
            },
            "RecognizerMetadata": _metadata(about) if about else None,
        }
    )


def _metadata(about: Json) -> Json:
    return present(
        {
            "NumberOfTrainedDocuments": about["trained"],
            "NumberOfTestDocuments": about["tested"],
            "EvaluationMetrics": _metrics(about["metrics"]),
            "EntityTypes": [
                present(
                    {
                        "Type": type,
                        "NumberOfTrainMentions": one["mentions"],
                        "EvaluationMetrics": _metrics(one["metrics"]),
                    }
                )
                for type, one in about["types"].items()
            ],
        }
    )


def _metrics(measured: Mapping[str, Any]) -> Json | None:
    """In per cent, as AWS gives those of a recogniser; None where the test has none."""
    if not measured:
        return None
    return {
        "Precision": measured["precision"] * 100,
        "Recall": measured["recall"] * 100,
        "F1Score": measured["f1"] * 100,
    }
