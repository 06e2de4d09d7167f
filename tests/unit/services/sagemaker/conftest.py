"""SageMaker's families on a store in memory; every answer is checked against the service model."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from modelyard.base.call import Call, Principal
from modelyard.services.sagemaker.endpoint_configs import EndpointConfigs
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.services.sagemaker.models import Models
from modelyard.services.sagemaker.resources import Roles
from modelyard.services.sagemaker.tags import Tags
from modelyard.services.sagemaker.transform_jobs import TransformJobs
from modelyard.store.resources import Key, Update
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ACCOUNT, REGION = "123456789012", "us-east-1"
MODEL = botocore.session.get_session().get_service_model("sagemaker")


class SageMaker:
    """Calls operations as the server does: PascalCase members in, a checked answer out."""

    def __init__(self, *, strict_roles: bool = False) -> None:
        self.clock = ManualClock(1_000.0)
        self.documents: dict[str, bytes] = {}
        self.store = MemoryResourceStore(clock=self.clock)
        roles = Roles(store=self.store, strict=strict_roles)
        self._families: tuple[object, ...] = (
            Models(store=self.store, roles=roles),
            EndpointConfigs(store=self.store, roles=roles),
            Endpoints(store=self.store, clock=self.clock, read=self._read),
            Tags(store=self.store),
            TransformJobs(store=self.store),
        )

    async def __call__(
        self, operation: str, *, account: str = ACCOUNT, region: str = REGION, **members: Any
    ) -> dict[str, Any]:
        model = MODEL.operation_model(operation)
        if model.input_shape is not None:
            report = ParamValidator().validate(members, model.input_shape)
            assert not report.has_errors(), report.generate_report()
        answer = await self._method(operation)(
            _call(operation, account, region),
            **{xform_name(name): value for name, value in members.items()},
        )
        return self._checked(answer, model.output_shape)

    def _method(self, operation: str) -> Callable[..., Awaitable[Mapping[str, Any] | None]]:
        name = xform_name(operation)
        for family in self._families:
            method: Callable[..., Awaitable[Mapping[str, Any] | None]] | None = getattr(
                family, name, None
            )
            if method is not None:
                return method
        raise AssertionError(f"nobody executes {operation}")

    def _checked(self, answer: Mapping[str, Any] | None, shape: Any) -> dict[str, Any]:
        if shape is None or answer is None:
            assert not answer
            return {}
        assert set(answer) <= set(shape.members)
        report = ParamValidator().validate(dict(answer), shape)
        assert not report.has_errors(), report.generate_report()
        return dict(answer)

    def _read(self, uri: str) -> bytes:
        if uri not in self.documents:
            raise FileNotFoundError("there is no such object")
        return self.documents[uri]

    async def model(self, name: str = "churn", **container: Any) -> str:
        container = {
            "Image": "modelyard/python:1",
            "ModelDataUrl": "s3://b/model.tar.gz",
        } | container
        created = await self("CreateModel", ModelName=name, PrimaryContainer=container)
        return str(created["ModelArn"])

    async def config(self, name: str = "config", model: str = "churn", **variant: Any) -> str:
        created = await self(
            "CreateEndpointConfig",
            EndpointConfigName=name,
            ProductionVariants=[a_variant(model, **variant)],
        )
        return str(created["EndpointConfigArn"])

    async def endpoint(self, name: str = "live", config: str = "config") -> str:
        created = await self("CreateEndpoint", EndpointName=name, EndpointConfigName=config)
        return str(created["EndpointArn"])

    async def move(self, kind: str, name: str, **status: Any) -> None:
        """What the reconciler does: change the status."""
        key = Key(kind=kind, account=ACCOUNT, region=REGION, name=name)
        resource = self.store.get(key)
        assert resource is not None
        await self.store.write(
            Update(key=key, version=resource.version, status={**resource.status, **status})
        )

    def spec(self, kind: str, name: str) -> dict[str, Any]:
        resource = self.store.get(Key(kind=kind, account=ACCOUNT, region=REGION, name=name))
        assert resource is not None
        return resource.spec


def a_variant(model: str = "churn", **changes: Any) -> dict[str, Any]:
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    } | changes
    return {name: value for name, value in variant.items() if value is not None}


def _call(operation: str, account: str, region: str) -> Call:
    return Call(
        principal=Principal(
            kind="root", arn=f"arn:aws:iam::{account}:root", id=account, account=account
        ),
        account=account,
        region=region,
        action=f"sagemaker:{operation}",
        request_id="00000000-0000-4000-a000-000000000000",
        deadline=60.0,
    )


@pytest.fixture
def sagemaker() -> SageMaker:
    return SageMaker()


@pytest.fixture
def strict_sagemaker() -> SageMaker:
    return SageMaker(strict_roles=True)


@pytest.fixture
def variant() -> Callable[..., dict[str, Any]]:
    return a_variant
