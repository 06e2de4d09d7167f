"""STS: who calls, and temporary credentials that verify without a database.

A session's secret, principal and expiry travel in its token, sealed with the platform's key, so that any gateway can
verify a request that it signs. Policies are not evaluated yet; what a trust policy needs today is that its role exists.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.base.arns import Arn
from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource, access_key_id, secret_access_key
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, only
from modelyard.store.resources import Key, ResourceStore

ROLE_SECONDS = 3600
CHAINED_SECONDS = 3600
ROLE_SECONDS_MAX = 43_200
SESSION_SECONDS = 43_200
_NO_SIZE = only(0)
MEMBERS: dict[str, Members] = {
    "AssumeRole": {
        "RoleArn": EXECUTED,
        "RoleSessionName": EXECUTED,
        "DurationSeconds": EXECUTED,
        "SourceIdentity": RECORDED,
        "Tags": RECORDED,
        "TransitiveTagKeys": RECORDED,
        "ExternalId": RECORDED,
        "Policy": REFUSED,
        "PolicyArns": REFUSED,
        "SerialNumber": REFUSED,
        "TokenCode": REFUSED,
        "ProvidedContexts": REFUSED,
        "MinimumSessionTokenSize": _NO_SIZE,
    },
    "GetSessionToken": {
        "DurationSeconds": EXECUTED,
        "SerialNumber": REFUSED,
        "TokenCode": REFUSED,
        "MinimumSessionTokenSize": _NO_SIZE,
    },
}
_ROLE = re.compile(r"role/(?:.*/)?([\w+=,.@-]{1,64})")

Issue = Callable[[str, str, Principal, float], str]
"""Seals a session (access key id, secret, principal, expiry in Unix seconds) into its token."""


class Sts:
    """The token service. ``issue`` seals a session; ``strict_roles`` demands that roles exist."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        clock: Clock,
        random: RandomSource,
        issue: Issue,
        strict_roles: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._issue = issue
        self._strict_roles = strict_roles

    async def get_caller_identity(self, call: Call) -> Mapping[str, Any]:
        principal = call.principal
        return {"UserId": principal.id, "Account": principal.account, "Arn": principal.arn}

    async def assume_role(
        self,
        call: Call,
        *,
        role_arn: str,
        role_session_name: str,
        policy_arns: list[Any] | None = None,
        policy: str | None = None,
        duration_seconds: int | None = None,
        tags: list[Any] | None = None,
        transitive_tag_keys: list[str] | None = None,
        external_id: str | None = None,
        serial_number: str | None = None,
        token_code: str | None = None,
        source_identity: str | None = None,
        provided_contexts: list[Any] | None = None,
        minimum_session_token_size: int | None = None,
    ) -> Mapping[str, Any]:
        """Raises ``AccessDenied`` for a role that cannot be assumed."""
        check(
            "AssumeRole",
            MEMBERS["AssumeRole"],
            {
                "Policy": policy,
                "PolicyArns": policy_arns,
                "SerialNumber": serial_number,
                "TokenCode": token_code,
                "ProvidedContexts": provided_contexts,
                "MinimumSessionTokenSize": minimum_session_token_size,
            },
        )
        role = self._role(call, role_arn)
        seconds = duration_seconds or ROLE_SECONDS
        longest = ROLE_SECONDS_MAX
        if role is not None:
            longest = int(role.get("MaxSessionDuration") or ROLE_SECONDS)
        if call.principal.kind == "role":
            longest = min(longest, CHAINED_SECONDS)
        if seconds > longest:
            raise ServiceError(
                "ValidationError",
                f"The requested DurationSeconds exceeds the {longest} seconds that this role allows.",
            )
        arn = Arn.parse(role_arn)
        name = arn.resource.rpartition("/")[2]
        role_id = (role or {}).get("RoleId") or "AROA" + name.upper()[:17]
        principal = Principal(
            kind="role",
            arn=f"arn:aws:sts::{arn.account}:assumed-role/{name}/{role_session_name}",
            id=f"{role_id}:{role_session_name}",
            account=arn.account,
        )
        user = {"AssumedRoleId": principal.id, "Arn": principal.arn}
        answer = {"Credentials": self._credentials(principal, seconds), "AssumedRoleUser": user}
        return answer | ({"SourceIdentity": source_identity} if source_identity else {})

    async def get_session_token(
        self,
        call: Call,
        *,
        duration_seconds: int | None = None,
        serial_number: str | None = None,
        token_code: str | None = None,
        minimum_session_token_size: int | None = None,
    ) -> Mapping[str, Any]:
        check(
            "GetSessionToken",
            MEMBERS["GetSessionToken"],
            {
                "SerialNumber": serial_number,
                "TokenCode": token_code,
                "MinimumSessionTokenSize": minimum_session_token_size,
            },
        )
        if call.principal.kind == "role":
            raise ServiceError(
                "AccessDenied", "Cannot call GetSessionToken with session credentials", status=403
            )
        return {
            "Credentials": self._credentials(call.principal, duration_seconds or SESSION_SECONDS)
        }

    def _role(self, call: Call, role_arn: str) -> Mapping[str, Any] | None:
        """The role's spec; None for one that nobody has created, where that is accepted."""
        try:
            arn = Arn.parse(role_arn)
        except ValueError:
            raise ServiceError("ValidationError", f"{role_arn} is invalid") from None
        match = _ROLE.fullmatch(arn.resource)
        if match is None or arn.service != "iam":
            raise ServiceError("ValidationError", f"{role_arn} is invalid")
        found = self._store.get(Key(kind="iam-role", account=arn.account, region="", name=match[1]))
        if found is not None and found.spec["Arn"] == role_arn:
            return found.spec
        if arn.account != call.account or self._strict_roles:
            raise ServiceError(
                "AccessDenied",
                f"User: {call.principal.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
                status=403,
            )
        return None

    def _credentials(self, principal: Principal, seconds: int) -> Mapping[str, Any]:
        key_id = access_key_id(self._random, prefix="ASIA")
        secret = secret_access_key(self._random)
        expires = self._clock.now() + seconds
        return {
            "AccessKeyId": key_id,
            "SecretAccessKey": secret,
            "SessionToken": self._issue(key_id, secret, principal, expires),
            "Expiration": expires,
        }
