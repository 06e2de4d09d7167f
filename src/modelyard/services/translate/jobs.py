"""Batch translation: start, describe, list and stop jobs that translate all documents below a folder of S3."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services import job_records
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, present
from modelyard.services.sagemaker.resources import Roles
from modelyard.services.translate import languages
from modelyard.services.translate.documents import check_content_type
from modelyard.services.translate.translator import SETTINGS, Translator
from modelyard.store.resources import Json, Key, Resource, ResourceStore

KIND = "translate-job"
TARGETS_MAX = 10
MEMBERS: Mapping[str, Members] = {
    "StartTextTranslationJob": {
        "JobName": EXECUTED,
        "InputDataConfig": {"S3Uri": EXECUTED, "ContentType": EXECUTED},
        "OutputDataConfig": {"S3Uri": EXECUTED, "EncryptionKey": REFUSED},
        "DataAccessRoleArn": RECORDED,
        "SourceLanguageCode": EXECUTED,
        "TargetLanguageCodes": EXECUTED,
        "TerminologyNames": EXECUTED,
        "ParallelDataNames": REFUSED,
        "ClientToken": EXECUTED,
        "Settings": SETTINGS,
    },
    "DescribeTextTranslationJob": {"JobId": EXECUTED},
    "ListTextTranslationJobs": {
        "Filter": {
            "JobName": EXECUTED,
            "JobStatus": EXECUTED,
            "SubmittedBeforeTime": EXECUTED,
            "SubmittedAfterTime": EXECUTED,
        },
        "NextToken": EXECUTED,
        "MaxResults": EXECUTED,
    },
    "StopTextTranslationJob": {"JobId": EXECUTED},
}
_SHOWN = (
    "JobName",
    "SourceLanguageCode",
    "TargetLanguageCodes",
    "TerminologyNames",
    "InputDataConfig",
    "DataAccessRoleArn",
)


class TranslationJobs:
    """``job_runner`` does what they ask for."""

    def __init__(self, *, store: ResourceStore, roles: Roles, translator: Translator) -> None:
        self._store = store
        self._roles = roles
        self._translator = translator

    async def start_text_translation_job(
        self,
        call: Call,
        *,
        input_data_config: Json,
        output_data_config: Json,
        data_access_role_arn: str,
        source_language_code: str,
        target_language_codes: Sequence[str],
        client_token: str,
        job_name: str | None = None,
        terminology_names: Sequence[str] | None = None,
        parallel_data_names: Sequence[str] | None = None,
        settings: Json | None = None,
    ) -> Json:
        """The same token with the same input is the same job."""
        given = present(
            {
                "JobName": job_name,
                "InputDataConfig": present(input_data_config),
                "OutputDataConfig": present(output_data_config),
                "DataAccessRoleArn": data_access_role_arn,
                "SourceLanguageCode": source_language_code,
                "TargetLanguageCodes": list(target_language_codes),
                "TerminologyNames": list(terminology_names or ()) or None,
                "ParallelDataNames": parallel_data_names,
                "Settings": settings,
            }
        )
        operation = "StartTextTranslationJob"
        check(operation, MEMBERS[operation], given)
        check_content_type(operation, input_data_config["ContentType"])
        self._roles.check(call, data_access_role_arn)
        await self._check_languages(call, given)
        identity = job_records.job_id(call, operation, client_token)
        key = Key(kind=KIND, account=call.account, region=call.region, name=identity)
        taken = _invalid("The ClientToken was used for another job; use another one.")
        spec = {name: given.get(name) for name in (*_SHOWN, "OutputDataConfig")}
        status = await job_records.submit(self._store, key, spec, taken=taken)
        return {"JobId": identity, "JobStatus": status}

    async def _check_languages(self, call: Call, given: Json) -> None:
        source, targets = given["SourceLanguageCode"], given["TargetLanguageCodes"]
        if len(targets) > TARGETS_MAX:
            raise _invalid(f"A job has at most {TARGETS_MAX} target languages.")
        if len(set(targets)) != len(targets):
            raise _invalid("A target language is named twice.")
        for target in targets:
            if source == languages.AUTO:
                self._translator.check_target(target)
            else:
                self._translator.check_pair(source, target)
        await self._translator.terms(call, given.get("TerminologyNames"), source, targets[0])

    async def describe_text_translation_job(self, call: Call, *, job_id: str) -> Json:
        return {"TextTranslationJobProperties": _properties(self._find(call, job_id))}

    async def list_text_translation_jobs(
        self,
        call: Call,
        *,
        filter: Json | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        """The newest first, but those before a time, as AWS has it."""
        wanted: dict[str, Any] = present(filter or {})
        found, token = job_records.listed(
            call,
            self._store.list(KIND, account=call.account, region=call.region),
            wanted,
            after="SubmittedAfterTime",
            before="SubmittedBeforeTime",
            oldest_first="SubmittedBeforeTime" in wanted,
            page_size=max_results,
            next_token=next_token,
        )
        shown = [_properties(one) for one in found]
        return present({"TextTranslationJobPropertiesList": shown, "NextToken": token})

    async def stop_text_translation_job(self, call: Call, *, job_id: str) -> Json:
        status = await job_records.stop(self._store, lambda: self._find(call, job_id))
        return {"JobId": job_id, "JobStatus": status}

    def _find(self, call: Call, job_id: str) -> Resource:
        key = Key(kind=KIND, account=call.account, region=call.region, name=job_id)
        found = self._store.get(key)
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"The specified job was not found: {job_id}.",
                status=404,
            )
        return found


def output_folder(key: Key, spec: Json) -> str:
    """Where the output of a job is; with a slash at its end."""
    folder = spec["OutputDataConfig"]["S3Uri"].rstrip("/")
    return f"{folder}/{key.account}-TranslateText-{key.name}/"


def _properties(resource: Resource) -> Json:
    spec, status = resource.spec, resource.status
    return present(
        {
            "JobId": resource.key.name,
            **{name: spec[name] for name in _SHOWN},
            "JobStatus": status["JobStatus"],
            "JobDetails": status.get("JobDetails"),
            "Message": status.get("Message"),
            "SubmittedTime": resource.created_at,
            "EndTime": status.get("EndTime"),
            "OutputDataConfig": {"S3Uri": output_folder(resource.key, spec)},
        }
    )


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidRequestException", message)
