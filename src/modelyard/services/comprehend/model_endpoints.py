"""Comprehend's endpoints: a trained model that is hosted, and ClassifyDocument, which asks one.

What an endpoint's status is, the platform's own hosting says: a trained model is one like any other there.
"""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.listing import Entry, Query, page
from modelyard.domain.usage import text_units
from modelyard.services.changes import change
from modelyard.services.comprehend.analysis import UNIT
from modelyard.services.comprehend.custom_models import CustomModels, arn_of_endpoint, endpoint_kind
from modelyard.services.comprehend.texts import LONG_BYTES, check_size
from modelyard.services.comprehend.trained_models import (
    CLASSIFIER,
    ENDPOINT_KIND,
    RESULTS_DEFAULT,
)
from modelyard.services.job_records import invalid_request
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, present
from modelyard.services.metering import Metering
from modelyard.services.sagemaker.resources import Roles, seconds
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

MEMBERS: Mapping[str, Members] = {
    "CreateEndpoint": {
        "EndpointName": EXECUTED,
        "ModelArn": EXECUTED,
        "DesiredInferenceUnits": RECORDED,
        "ClientRequestToken": EXECUTED,
        "Tags": EXECUTED,
        "DataAccessRoleArn": RECORDED,
        "FlywheelArn": REFUSED,
    },
    "UpdateEndpoint": {
        "EndpointArn": EXECUTED,
        "DesiredModelArn": EXECUTED,
        "DesiredInferenceUnits": RECORDED,
        "DesiredDataAccessRoleArn": RECORDED,
        "FlywheelArn": REFUSED,
    },
    "ClassifyDocument": {
        "Text": EXECUTED, "EndpointArn": EXECUTED, "Bytes": REFUSED, "DocumentReaderConfig": REFUSED
    },
}  # fmt: skip


class ModelEndpoints:
    """Endpoints of trained models; a name is one endpoint's, of whichever kind its model is."""

    def __init__(
        self, *, store: ResourceStore, roles: Roles, models: CustomModels, metering: Metering
    ) -> None:
        self._store = store
        self._roles = roles
        self._models = models
        self._metering = metering

    async def create_endpoint(
        self,
        call: Call,
        *,
        endpoint_name: str,
        desired_inference_units: int,
        model_arn: str | None = None,
        client_request_token: str | None = None,
        tags: Sequence[Json] | None = None,
        data_access_role_arn: str | None = None,
        flywheel_arn: str | None = None,
    ) -> Json:
        """The same token with the same input is the same endpoint."""
        spec = present(
            {
                "EndpointName": endpoint_name,
                "ModelArn": model_arn,
                "DesiredInferenceUnits": desired_inference_units,
                "ClientRequestToken": client_request_token,
                "Tags": tags,
                "DataAccessRoleArn": data_access_role_arn,
                "FlywheelArn": flywheel_arn,
            }
        )
        check("CreateEndpoint", MEMBERS["CreateEndpoint"], spec)
        if model_arn is None:
            raise ServiceError("InvalidRequestException", "CreateEndpoint needs a ModelArn.")
        self._roles.check(call, data_access_role_arn)
        key = Key(kind=ENDPOINT_KIND, account=call.account, region=call.region, name=endpoint_name)

        def decide(_: Resource | None) -> tuple[Change, ...]:
            return Create(key=key, spec=spec), self._models.hold(model_arn, call)

        try:
            await change(self._store, key, decide)
        except AlreadyExists:
            found = self._store.get(key)
            if found is None or client_request_token is None or found.spec != spec:
                raise ServiceError(
                    "ResourceInUseException",
                    f"There is an endpoint {endpoint_name} already; choose another name.",
                ) from None
        await self._models.wish(model_arn, call)
        return {"EndpointArn": arn_of_endpoint(key, model_arn), "ModelArn": model_arn}

    async def describe_endpoint(self, call: Call, *, endpoint_arn: str) -> Json:
        found = self._models.endpoint(endpoint_arn, call)
        return {"EndpointProperties": self._properties(call, found)}

    async def update_endpoint(
        self,
        call: Call,
        *,
        endpoint_arn: str,
        desired_model_arn: str | None = None,
        desired_inference_units: int | None = None,
        desired_data_access_role_arn: str | None = None,
        flywheel_arn: str | None = None,
    ) -> Json:
        """Requests go to the new model as soon as it is wished for; the first ones wait for it."""
        given = {
            "DesiredModelArn": desired_model_arn,
            "DesiredInferenceUnits": desired_inference_units,
            "DesiredDataAccessRoleArn": desired_data_access_role_arn,
            "FlywheelArn": flywheel_arn,
        }
        check("UpdateEndpoint", MEMBERS["UpdateEndpoint"], given)
        self._roles.check(call, desired_data_access_role_arn)
        key = self._models.endpoint(endpoint_arn, call).key
        before: list[str] = []

        def decide(_: Resource | None) -> tuple[Change, ...]:
            found = self._models.endpoint(endpoint_arn, call)
            before[:] = [found.spec["ModelArn"]]
            changed = {
                "ModelArn": desired_model_arn,
                "DesiredInferenceUnits": desired_inference_units,
                "DataAccessRoleArn": desired_data_access_role_arn,
            }
            spec = {**found.spec, **present(changed)}
            update = Update(key=key, version=found.version, spec=spec)
            kind = endpoint_kind(found.spec["ModelArn"])
            return update, self._models.hold(spec["ModelArn"], call, kind)

        written = await change(self._store, key, decide)
        if desired_model_arn is not None:
            await self._models.wish(desired_model_arn, call)
        if before[0] != written.spec["ModelArn"]:
            await self._models.release(before[0], call)
        return present({"DesiredModelArn": desired_model_arn})

    async def delete_endpoint(self, call: Call, *, endpoint_arn: str) -> Json:
        """The model's workers stop with its last endpoint."""
        key = self._models.endpoint(endpoint_arn, call).key

        def decide(_: Resource | None) -> Delete:
            found = self._models.endpoint(endpoint_arn, call)
            return Delete(key=key, version=found.version)

        deleted = await change(self._store, key, decide)
        await self._models.release(deleted.spec["ModelArn"], call)
        return {}

    async def list_endpoints(
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
            raise invalid_request("You can only set one filter at a time.")
        known = {
            one.key.name: self._properties(call, one)
            for one in self._store.list(ENDPOINT_KIND, account=call.account, region=call.region)
            if wanted.get("ModelArn") in (None, one.spec["ModelArn"])
        }
        found = page(
            (
                Entry(name=name, created_at=one["CreationTime"], status=one["Status"])
                for name, one in known.items()
            ),
            Query(
                scope=f"{call.action}/{call.account}/{call.region}",
                descending=True,
                created_after=seconds(wanted.get("CreationTimeAfter")),
                created_before=seconds(wanted.get("CreationTimeBefore")),
                status=wanted.get("Status"),
                max_results=max_results or RESULTS_DEFAULT,
                next_token=next_token,
                refusal=invalid_request,
            ),
        )
        shown = [known[name] for name in found.names]
        return present({"EndpointPropertiesList": shown, "NextToken": found.next_token})

    async def classify_document(
        self,
        call: Call,
        *,
        endpoint_arn: str,
        text: str | None = None,
        bytes: bytes | None = None,
        document_reader_config: Json | None = None,
    ) -> Json:
        """Every class with its likelihood, or every label with its own; the likeliest first."""
        given = {"Bytes": bytes, "DocumentReaderConfig": document_reader_config}
        check("ClassifyDocument", MEMBERS["ClassifyDocument"], given)
        if not text:
            raise ServiceError("InvalidRequestException", "ClassifyDocument needs a Text.")
        check_size(text, LONG_BYTES)
        resource = self._models.endpoint(endpoint_arn, call, CLASSIFIER)
        (said,) = await self._models.classify(resource.spec["ModelArn"], [text], call)
        if isinstance(said, str):
            raise ServiceError("InvalidRequestException", said)
        units = text_units(text)
        self._metering.meter(call, usage_type="ClassifyDocument", quantity=units, unit=UNIT)
        return said

    def _properties(self, call: Call, resource: Resource) -> Json:
        spec = resource.spec
        status, message = self._models.state(spec["ModelArn"], call)
        return present(
            {
                "EndpointArn": arn_of_endpoint(resource.key, spec["ModelArn"]),
                "Status": status,
                "Message": message or None,
                "ModelArn": spec["ModelArn"],
                "DesiredModelArn": spec["ModelArn"],
                "DesiredInferenceUnits": spec["DesiredInferenceUnits"],
                "CurrentInferenceUnits": spec["DesiredInferenceUnits"],
                "CreationTime": resource.created_at,
                "LastModifiedTime": resource.updated_at,
                "DataAccessRoleArn": spec.get("DataAccessRoleArn"),
            }
        )
