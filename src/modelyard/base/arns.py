"""Amazon Resource Names: ``arn:partition:service:region:account:resource``."""

from dataclasses import dataclass
from typing import Self

_PARTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Arn:
    """One parsed ARN; ``resource`` keeps its type, as in ``endpoint/churn``."""

    service: str
    region: str
    account: str
    resource: str
    partition: str = "aws"

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``ValueError`` for a text that is no ARN."""
        parts = text.split(":", _PARTS - 1)
        if len(parts) != _PARTS or parts[0] != "arn":
            raise ValueError(f"not an ARN: {text!r}")
        _, partition, service, region, account, resource = parts
        return cls(
            partition=partition,
            service=service,
            region=region,
            account=account,
            resource=resource,
        )


def sagemaker_arn(region: str, account: str, kind: str, name: str) -> str:
    """ARN of a SageMaker resource; the name inside is lower-cased, as AWS does (hosting.md)."""
    return str(
        Arn(
            service="sagemaker",
            region=region,
            account=account,
            resource=f"{kind}/{name.lower()}",
        )
    )


def iam_arn(account: str, resource: str) -> str:
    """ARN of an IAM resource, which has no region: ``role/path/name``, ``user/name``, ``policy/…``."""
    return str(Arn(service="iam", region="", account=account, resource=resource))
