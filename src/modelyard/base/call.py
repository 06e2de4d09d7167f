"""The one value that travels with every operation, through authoriser, audit hook and service."""

from dataclasses import dataclass
from typing import Literal

import msgspec

PrincipalKind = Literal["root", "user", "role", "anonymous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls. ``arn`` is what GetCallerIdentity answers; ``id`` its ``UserId``."""

    kind: PrincipalKind
    arn: str
    id: str
    account: str
    access_key_id: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on its way. A struct, not a dataclass: each invocation makes one, and these are made in C.

    ``action`` is ``service:Operation`` as IAM writes it (``sagemaker:CreateModel``); ``resource`` the ARN
    that it is about, or ``*``. ``deadline`` is in seconds of the process's monotonic clock.
    ``invocation_id`` is what AWS's clients send again when they repeat a request; empty where a client sends none.
    """

    principal: Principal
    account: str
    region: str
    action: str
    request_id: str
    deadline: float
    resource: str = "*"
    invocation_id: str = ""
