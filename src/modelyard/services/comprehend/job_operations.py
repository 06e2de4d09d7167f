"""Start, Describe, List and Stop of each kind of Comprehend's jobs."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.services.comprehend.job_kinds import (
    ENTITIES_JOB,
    KEY_PHRASES_JOB,
    LANGUAGE_JOB,
    PII_JOB,
    SENTIMENT_JOB,
)
from modelyard.services.comprehend.jobs import START, Jobs
from modelyard.services.members import Members
from modelyard.store.resources import Json

MEMBERS: Mapping[str, Members] = START


class DominantLanguageJobs:
    """Of ``DominantLanguageDetectionJob``."""

    def __init__(self, *, jobs: Jobs) -> None:
        self._jobs = jobs

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
        return await self._jobs.start(LANGUAGE_JOB, call, given)

    async def describe_dominant_language_detection_job(self, call: Call, *, job_id: str) -> Json:
        return self._jobs.describe(LANGUAGE_JOB, call, job_id)

    async def list_dominant_language_detection_jobs(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        return self._jobs.list(LANGUAGE_JOB, call, filter, next_token, max_results)

    async def stop_dominant_language_detection_job(self, call: Call, *, job_id: str) -> Json:
        return await self._jobs.stop(LANGUAGE_JOB, call, job_id)


class EntitiesJobs:
    """Of ``EntitiesDetectionJob``."""

    def __init__(self, *, jobs: Jobs) -> None:
        self._jobs = jobs

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
        return await self._jobs.start(ENTITIES_JOB, call, given)

    async def describe_entities_detection_job(self, call: Call, *, job_id: str) -> Json:
        return self._jobs.describe(ENTITIES_JOB, call, job_id)

    async def list_entities_detection_jobs(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        return self._jobs.list(ENTITIES_JOB, call, filter, next_token, max_results)

    async def stop_entities_detection_job(self, call: Call, *, job_id: str) -> Json:
        return await self._jobs.stop(ENTITIES_JOB, call, job_id)


class KeyPhrasesJobs:
    """Of ``KeyPhrasesDetectionJob``."""

    def __init__(self, *, jobs: Jobs) -> None:
        self._jobs = jobs

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
        return await self._jobs.start(KEY_PHRASES_JOB, call, given)

    async def describe_key_phrases_detection_job(self, call: Call, *, job_id: str) -> Json:
        return self._jobs.describe(KEY_PHRASES_JOB, call, job_id)

    async def list_key_phrases_detection_jobs(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        return self._jobs.list(KEY_PHRASES_JOB, call, filter, next_token, max_results)

    async def stop_key_phrases_detection_job(self, call: Call, *, job_id: str) -> Json:
        return await self._jobs.stop(KEY_PHRASES_JOB, call, job_id)


class SentimentJobs:
    """Of ``SentimentDetectionJob``."""

    def __init__(self, *, jobs: Jobs) -> None:
        self._jobs = jobs

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
        return await self._jobs.start(SENTIMENT_JOB, call, given)

    async def describe_sentiment_detection_job(self, call: Call, *, job_id: str) -> Json:
        return self._jobs.describe(SENTIMENT_JOB, call, job_id)

    async def list_sentiment_detection_jobs(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        return self._jobs.list(SENTIMENT_JOB, call, filter, next_token, max_results)

    async def stop_sentiment_detection_job(self, call: Call, *, job_id: str) -> Json:
        return await self._jobs.stop(SENTIMENT_JOB, call, job_id)


class PiiEntitiesJobs:
    """Of ``PiiEntitiesDetectionJob``."""

    def __init__(self, *, jobs: Jobs) -> None:
        self._jobs = jobs

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
        return await self._jobs.start(PII_JOB, call, given)

    async def describe_pii_entities_detection_job(self, call: Call, *, job_id: str) -> Json:
        return self._jobs.describe(PII_JOB, call, job_id)

    async def list_pii_entities_detection_jobs(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        return self._jobs.list(PII_JOB, call, filter, next_token, max_results)

    async def stop_pii_entities_detection_job(self, call: Call, *, job_id: str) -> Json:
        return await self._jobs.stop(PII_JOB, call, job_id)
