"""Custom classifiers as resources: create, describe, list, stop, delete. ``control.text_training`` trains what they ask for."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.domain.text_training import MULTI_CLASS
from modelyard.services.comprehend.trained_models import (
    CLASSIFIER,
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
        "Tags": EXECUTED,
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
_INPUT_DEFAULTS = {"DataFormat": "COMPREHEND_CSV"}
_SHOWN = (
    "LanguageCode",
    "DataAccessRoleArn",
    "Mode",
    "VersionName",
)


class Classifiers:
    """Document classifiers that users train on texts of their own."""

    def __init__(
        self, *, store: ResourceStore, random: RandomSource, roles: Roles, models: HostedModels
    ) -> None:
        self._trained = TrainedModels(CLASSIFIER, store=store, random=random, models=models)
        self._roles = roles

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
        return await self._trained.create(
            spec, call, version=version_name, token=client_request_token
        )

    async def describe_document_classifier(
        self, call: Call, *, document_classifier_arn: str
    ) -> Json:
        found = self._trained.find(call, document_classifier_arn)
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
        found, after = self._trained.newest(call, filter, next_token, max_results)
        shown = [_properties(one) for one in found]
        return present({"DocumentClassifierPropertiesList": shown, "NextToken": after})

    async def list_document_classifier_summaries(
        self, call: Call, *, next_token: str | None = None, max_results: int | None = None
    ) -> Json:
        """Each name once, with its latest version."""
        shown, after = self._trained.summaries(call, next_token, max_results)
        return present({"DocumentClassifierSummariesList": shown, "NextToken": after})

    async def stop_training_document_classifier(
        self, call: Call, *, document_classifier_arn: str
    ) -> Json:
        """One whose training has ended stays as it is."""
        await self._trained.stop(document_classifier_arn, call)
        return {}

    async def delete_document_classifier(self, call: Call, *, document_classifier_arn: str) -> Json:
        """Its model's files go with it, as soon as the reconciler has seen to it."""
        await self._trained.delete(document_classifier_arn, call)
        return {}


def _check_input(given: Json) -> None:
    """Raises ``InvalidRequestException`` where no training could begin."""
    if not given.get("S3Uri"):
        raise ServiceError("InvalidRequestException", "InputDataConfig needs an S3Uri.")
    check_addresses({name: given.get(name) for name in ("S3Uri", "TestS3Uri")})


def _properties(resource: Resource) -> Json:
    output = resource.spec.get("OutputDataConfig") or {}
    if resource.spec.get("OutputUri"):
        output = {"S3Uri": resource.spec["OutputUri"]}
    return present(
        {
            **told(resource, _SHOWN),
            "InputDataConfig": {**_INPUT_DEFAULTS, **resource.spec["InputDataConfig"]},
            "OutputDataConfig": output,
            "ClassifierMetadata": _metadata(resource.status.get("progress")),
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
