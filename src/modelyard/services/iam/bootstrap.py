"""What IAM holds before anybody has asked for anything: the role that the demo and the guides use."""

import json
from contextlib import suppress

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.services.iam import managed
from modelyard.services.iam.entities import ROLE, entity_key, new_record
from modelyard.services.iam.roles import SESSION_SECONDS
from modelyard.store.resources import AlreadyExists, Create, ResourceStore

EXECUTION_ROLE = "ModelyardExecutionRole"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


async def bootstrap(
    store: ResourceStore, *, account: str, clock: Clock, random: RandomSource
) -> None:
    """Create the execution role, unless it exists: at each start, and after a reset."""
    spec = new_record(
        ROLE, account=account, name=EXECUTION_ROLE, path="/", clock=clock, random=random
    ) | {
        "AssumeRolePolicyDocument": json.dumps(_TRUST),
        "Description": "The role that Modelyard creates for models and jobs.",
        "MaxSessionDuration": SESSION_SECONDS,
        "Tags": [],
        "AttachedPolicies": [managed.SAGEMAKER_FULL_ACCESS["Arn"]],
        "InlinePolicies": {},
    }
    key = entity_key(ROLE, account, EXECUTION_ROLE)
    if store.get(key) is not None:
        return
    with suppress(AlreadyExists):  # Somebody was faster: it exists, which is all that is promised.
        await store.write(Create(key=key, spec=spec))
