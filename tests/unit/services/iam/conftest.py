"""IAM's families on a store in memory; every answer is checked against the service model."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from modelyard.base.call import Call, Principal
from modelyard.base.ids import SeededRandom
from modelyard.services.iam.access_keys import AccessKeys
from modelyard.services.iam.attachments import Attachments
from modelyard.services.iam.inline import InlinePolicies
from modelyard.services.iam.policies import Policies
from modelyard.services.iam.roles import Roles
from modelyard.services.iam.simulation import Account, Simulation
from modelyard.services.iam.users import Users
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ACCOUNT = "123456789012"
MODEL = botocore.session.get_session().get_service_model("iam")
ROOT = Principal(kind="root", arn=f"arn:aws:iam::{ACCOUNT}:root", id=ACCOUNT, account=ACCOUNT)


class Iam:
    """Calls operations as the server does. ``published`` are the keys tables that control would publish."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_000.0)
        self.store = MemoryResourceStore(clock=self.clock)
        self.random = SeededRandom(1)
        self.principal = ROOT
        self.published: list[dict[str, dict[str, Any]]] = []
        self._families: tuple[object, ...] = (
            Users(
                store=self.store, clock=self.clock, random=self.random, publish_keys=self._publish
            ),
            AccessKeys(store=self.store, random=self.random, publish_keys=self._publish),
            Roles(store=self.store, clock=self.clock, random=self.random),
            Policies(store=self.store, clock=self.clock, random=self.random),
            Attachments(store=self.store),
            InlinePolicies(store=self.store),
            Simulation(store=self.store),
            Account(store=self.store),
        )

    async def __call__(self, operation: str, **members: Any) -> dict[str, Any]:
        model = MODEL.operation_model(operation)
        if model.input_shape is not None:
            report = ParamValidator().validate(members, model.input_shape)
            assert not report.has_errors(), report.generate_report()
        answer = await self._method(operation)(
            Call(
                principal=self.principal,
                account=ACCOUNT,
                region="us-east-1",
                action=f"iam:{operation}",
                request_id="00000000-0000-4000-a000-000000000000",
                deadline=60.0,
            ),
            **{xform_name(name): value for name, value in members.items()},
        )
        return self._checked(answer, model.output_shape)

    def _method(self, operation: str) -> Callable[..., Awaitable[Mapping[str, Any] | None]]:
        name = xform_name(operation)
        (found,) = [getattr(one, name) for one in self._families if hasattr(one, name)]
        method: Callable[..., Awaitable[Mapping[str, Any] | None]] = found
        return method

    def _checked(self, answer: Mapping[str, Any] | None, shape: Any) -> dict[str, Any]:
        if shape is None or answer is None:
            assert not answer
            return {}
        assert set(answer) <= set(shape.members)
        report = ParamValidator().validate(dict(answer), shape)
        # AWS leaves out name and path of the root user, though the model demands them.
        of_root = self.principal is ROOT and "UserName" not in str(answer)
        assert of_root or not report.has_errors(), report.generate_report()
        return dict(answer)

    async def _publish(self) -> None:
        self.published.append({key.key.name: key.spec for key in self.store.list("iam-access-key")})


@pytest.fixture
def iam() -> Iam:
    return Iam()
