"""Start, Describe, List and Stop of each kind of Comprehend's jobs; those of classification and topics AWS does not stop."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.job_kinds import (
    CLASSIFICATION_JOB,
    ENTITIES_JOB,
    KEY_PHRASES_JOB,
    LANGUAGE_JOB,
    PII_JOB,
    SENTIMENT_JOB,
    TOPICS_JOB,
    JobKind,
)
from modelyard.services.comprehend.jobs import START, Jobs
from modelyard.services.comprehend.trained_models import CLASSIFIER, RECOGNISER
from modelyard.services.members import Members
from modelyard.store.resources import Change, Json

MEMBERS: Mapping[str, Members] = START
Operation = Callable[..., Coroutine[Any, Any, Json]]


def _describe(kind: JobKind) -> Operation:
    async def describe(self: "DetectionJobs", call: Call, *, job_id: str) -> Json:
        return self.jobs.describe(kind, call, job_id)

    return describe


def _list(kind: JobKind) -> Operation:
    async def list(
        self: "DetectionJobs",
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        return self.jobs.list(kind, call, filter, next_token, max_results)

    return list


def _stop(kind: JobKind) -> Operation:
    async def stop(self: "DetectionJobs", call: Call, *, job_id: str) -> Json:
        return await self.jobs.stop(kind, call, job_id)

    return stop


class DetectionJobs:
    """The kinds differ in what they are started with; the rest is the same of each."""

    def __init__(self, *, jobs: Jobs, custom: CustomModels) -> None:
        self.jobs = jobs
        self.custom = custom

    async def start_dominant_language_detection_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        job_name: str | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "DataAccessRoleArn": data_access_role_arn,
            "JobName": job_name,
            "ClientRequestToken": client_request_token,
            "VolumeKmsKeyId": volume_kms_key_id,
            "VpcConfig": vpc_config,
            "Tags": tags,
        }
        return await self.jobs.start(LANGUAGE_JOB, call, given)

    describe_dominant_language_detection_job = _describe(LANGUAGE_JOB)
    list_dominant_language_detection_jobs = _list(LANGUAGE_JOB)
    stop_dominant_language_detection_job = _stop(LANGUAGE_JOB)

    async def start_entities_detection_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        language_code: str,
        job_name: str | None = None,
        entity_recognizer_arn: str | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        tags: Sequence[Json] | None = None,
        flywheel_arn: str | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "DataAccessRoleArn": data_access_role_arn,
            "LanguageCode": language_code,
            "JobName": job_name,
            "EntityRecognizerArn": entity_recognizer_arn,
            "ClientRequestToken": client_request_token,
            "VolumeKmsKeyId": volume_kms_key_id,
            "VpcConfig": vpc_config,
            "Tags": tags,
            "FlywheelArn": flywheel_arn,
        }

        def hold() -> tuple[Change, ...]:
            if entity_recognizer_arn is None:
                return ()
            return (self.custom.hold(entity_recognizer_arn, call, RECOGNISER),)

        return await self.jobs.start(ENTITIES_JOB, call, given, hold=hold)

    describe_entities_detection_job = _describe(ENTITIES_JOB)
    list_entities_detection_jobs = _list(ENTITIES_JOB)
    stop_entities_detection_job = _stop(ENTITIES_JOB)

    async def start_key_phrases_detection_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        language_code: str,
        job_name: str | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "DataAccessRoleArn": data_access_role_arn,
            "LanguageCode": language_code,
            "JobName": job_name,
            "ClientRequestToken": client_request_token,
            "VolumeKmsKeyId": volume_kms_key_id,
            "VpcConfig": vpc_config,
            "Tags": tags,
        }
        return await self.jobs.start(KEY_PHRASES_JOB, call, given)

    describe_key_phrases_detection_job = _describe(KEY_PHRASES_JOB)
    list_key_phrases_detection_jobs = _list(KEY_PHRASES_JOB)
    stop_key_phrases_detection_job = _stop(KEY_PHRASES_JOB)

    async def start_sentiment_detection_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        language_code: str,
        job_name: str | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "DataAccessRoleArn": data_access_role_arn,
            "LanguageCode": language_code,
            "JobName": job_name,
            "ClientRequestToken": client_request_token,
            "VolumeKmsKeyId": volume_kms_key_id,
            "VpcConfig": vpc_config,
            "Tags": tags,
        }
        return await self.jobs.start(SENTIMENT_JOB, call, given)

    describe_sentiment_detection_job = _describe(SENTIMENT_JOB)
    list_sentiment_detection_jobs = _list(SENTIMENT_JOB)
    stop_sentiment_detection_job = _stop(SENTIMENT_JOB)

    async def start_pii_entities_detection_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        mode: str,
        data_access_role_arn: str,
        language_code: str,
        redaction_config: Json | None = None,
        job_name: str | None = None,
        client_request_token: str | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "Mode": mode,
            "DataAccessRoleArn": data_access_role_arn,
            "LanguageCode": language_code,
            "RedactionConfig": redaction_config,
            "JobName": job_name,
            "ClientRequestToken": client_request_token,
            "Tags": tags,
        }
        return await self.jobs.start(PII_JOB, call, given)

    describe_pii_entities_detection_job = _describe(PII_JOB)
    list_pii_entities_detection_jobs = _list(PII_JOB)
    stop_pii_entities_detection_job = _stop(PII_JOB)

    async def start_document_classification_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        job_name: str | None = None,
        document_classifier_arn: str | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        tags: Sequence[Json] | None = None,
        flywheel_arn: str | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "DataAccessRoleArn": data_access_role_arn,
            "JobName": job_name,
            "DocumentClassifierArn": document_classifier_arn,
            "ClientRequestToken": client_request_token,
            "VolumeKmsKeyId": volume_kms_key_id,
            "VpcConfig": vpc_config,
            "Tags": tags,
            "FlywheelArn": flywheel_arn,
        }

        def hold() -> tuple[Change, ...]:
            if document_classifier_arn is None:
                raise ServiceError(
                    "InvalidRequestException",
                    "StartDocumentClassificationJob needs a DocumentClassifierArn.",
                )
            return (self.custom.hold(document_classifier_arn, call, CLASSIFIER),)

        return await self.jobs.start(CLASSIFICATION_JOB, call, given, hold=hold)

    describe_document_classification_job = _describe(CLASSIFICATION_JOB)
    list_document_classification_jobs = _list(CLASSIFICATION_JOB)

    async def start_topics_detection_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        job_name: str | None = None,
        number_of_topics: int | None = None,
        client_request_token: str | None = None,
        volume_kms_key_id: str | None = None,
        vpc_config: Json | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = {
            "InputDataConfig": input_data_config,
            "OutputDataConfig": output_data_config,
            "DataAccessRoleArn": data_access_role_arn,
            "JobName": job_name,
            "NumberOfTopics": number_of_topics,
            "ClientRequestToken": client_request_token,
            "VolumeKmsKeyId": volume_kms_key_id,
            "VpcConfig": vpc_config,
            "Tags": tags,
        }
        return await self.jobs.start(TOPICS_JOB, call, given)

    describe_topics_detection_job = _describe(TOPICS_JOB)
    list_topics_detection_jobs = _list(TOPICS_JOB)
