"""Scalable targets: their names, their range, what of them is suspended."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from modelyard.base.arns import Arn
from modelyard.base.errors import ValidationError

NAMESPACE = "sagemaker"
Dimension = Literal[
    "sagemaker:variant:DesiredInstanceCount", "sagemaker:variant:DesiredProvisionedConcurrency"
]
INSTANCES: Dimension = "sagemaker:variant:DesiredInstanceCount"
CONCURRENCY: Dimension = "sagemaker:variant:DesiredProvisionedConcurrency"
COPIES = "sagemaker:inference-component:DesiredCopyCount"

NOUNS: dict[str, str] = {
    INSTANCES: "desired instance count",
    CONCURRENCY: "desired provisioned concurrency",
}
"""What an activity says it sets."""

_VARIANT = re.compile(r"endpoint/([^/]{1,63})/variant/([^/]{1,63})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Smallest and largest capacity."""

    low: int
    high: int

    def clamp(self, capacity: int) -> int:
        """The nearest capacity within."""
        return max(self.low, min(self.high, capacity))

    def check(self) -> Self:
        """Raises ``ValidationError``."""
        if self.low < 0:
            raise ValidationError("Minimum capacity must be greater than or equal to 0.")
        if self.low > self.high:
            raise ValidationError(
                f"Maximum capacity cannot be less than minimum capacity: {self.high} < {self.low}."
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """Which kinds of scaling rest for now."""

    scale_in: bool = False
    scale_out: bool = False
    scheduled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a target scales: one variant of an endpoint, in one dimension."""

    endpoint: str
    variant: str
    dimension: str = INSTANCES

    @property
    def resource_id(self) -> str:
        """As Application Auto Scaling writes it."""
        return f"endpoint/{self.endpoint}/variant/{self.variant}"

    @property
    def name(self) -> str:
        """Of the target among the platform's resources."""
        return f"{self.resource_id}|{self.dimension}"

    @property
    def noun(self) -> str:
        """What is counted."""
        return NOUNS[self.dimension]

    @classmethod
    def parse(cls, resource_id: str, dimension: str) -> Self:
        """Raises ``ValidationError``."""
        match = _VARIANT.fullmatch(resource_id)
        if match is None:
            raise ValidationError(
                f"Unsupported resource id {resource_id} for namespace {NAMESPACE}: give "
                "endpoint/<endpoint name>/variant/<variant name>."
            )
        if dimension not in NOUNS:
            raise ValidationError(
                f"Unsupported service namespace, resource type or scalable dimension: {dimension} "
                f"does not scale a variant. Give {' or '.join(NOUNS)}."
            )
        return cls(endpoint=match.group(1), variant=match.group(2), dimension=dimension)


def target_arn(*, region: str, account: str, target_id: str) -> str:
    """``ScalableTargetARN``, by which a target is tagged."""
    resource = f"scalable-target/{target_id}"
    return str(
        Arn(service="application-autoscaling", region=region, account=account, resource=resource)
    )


def policy_arn(*, region: str, account: str, policy_id: str, resource_id: str, name: str) -> str:
    """What a user puts into the actions of an alarm."""
    resource = f"scalingPolicy:{policy_id}:resource/{NAMESPACE}/{resource_id}:policyName/{name}"
    return str(Arn(service="autoscaling", region=region, account=account, resource=resource))


def scheduled_action_arn(
    *, region: str, account: str, action_id: str, resource_id: str, name: str
) -> str:
    """``ScheduledActionARN``."""
    resource = (
        f"scheduledAction:{action_id}:resource/{NAMESPACE}/{resource_id}:scheduledActionName/{name}"
    )
    return str(Arn(service="autoscaling", region=region, account=account, resource=resource))


def service_linked_role(account: str) -> str:
    """The role by which AWS's service acts."""
    path = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    name = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    return f"arn:aws:iam::{account}:role/{path}/{name}"
