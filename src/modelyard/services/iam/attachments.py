"""Which managed policies hang on which users and roles."""

from collections.abc import Sequence

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.services.iam import managed
from modelyard.services.iam.entities import (
    ROLE,
    USER,
    Entity,
    chosen,
    find,
    missing,
    over_limit,
    page,
    transact,
)
from modelyard.services.iam.policies import customer_policy, policy_of
from modelyard.store.resources import Change, Json, ResourceStore, Update

ATTACHED_MAX = 20


class Attachments:
    """Attach, Detach and ListAttached for users and roles; ListEntitiesForPolicy."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def attach_user_policy(self, call: Call, *, user_name: str, policy_arn: str) -> None:
        await self._attach(call, USER, user_name, policy_arn)

    async def attach_role_policy(self, call: Call, *, role_name: str, policy_arn: str) -> None:
        await self._attach(call, ROLE, role_name, policy_arn)

    async def detach_user_policy(self, call: Call, *, user_name: str, policy_arn: str) -> None:
        await self._detach(call, USER, user_name, policy_arn)

    async def detach_role_policy(self, call: Call, *, role_name: str, policy_arn: str) -> None:
        await self._detach(call, ROLE, role_name, policy_arn)

    async def list_attached_user_policies(
        self,
        call: Call,
        *,
        user_name: str,
        path_prefix: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        found = self._attached(call, USER, user_name, path_prefix)
        return page("AttachedPolicies", found, marker=marker, max_items=max_items)

    async def list_attached_role_policies(
        self,
        call: Call,
        *,
        role_name: str,
        path_prefix: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        found = self._attached(call, ROLE, role_name, path_prefix)
        return page("AttachedPolicies", found, marker=marker, max_items=max_items)

    async def list_entities_for_policy(
        self,
        call: Call,
        *,
        policy_arn: str,
        entity_filter: str | None = None,
        path_prefix: str | None = None,
        policy_usage_filter: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """Users and roles that have it attached; groups cannot be created here, boundaries are refused."""
        policy_of(self._store, call, policy_arn)
        found = {
            f"{entity.member} {holder.key.name}": (
                entity,
                chosen(holder.spec, entity.name_member, f"{entity.member}Id"),
            )
            for entity in (USER, ROLE)
            if entity_filter in (None, entity.member)
            and policy_usage_filter != "PermissionsBoundary"
            for holder in self._store.list(entity.kind, account=call.account)
            if policy_arn in holder.spec["AttachedPolicies"]
            and holder.spec["Path"].startswith(path_prefix or "/")
        }
        answer = page("Entities", found, marker=marker, max_items=max_items)
        shown = answer.pop("Entities")
        return answer | {
            "PolicyGroups": [],
            "PolicyUsers": [one for entity, one in shown if entity is USER],
            "PolicyRoles": [one for entity, one in shown if entity is ROLE],
        }

    async def _attach(self, call: Call, entity: Entity, name: str, policy_arn: str) -> None:
        def decide() -> Sequence[Change]:
            holder = find(self._store, call, entity, name)
            changes: list[Change] = []
            if Arn.parse(str(policy_of(self._store, call, policy_arn)["Arn"])).account != (
                managed.ACCOUNT
            ):
                # The policy's version rises too: whoever deletes it meanwhile decides again.
                policy = customer_policy(self._store, call, policy_arn)
                changes.append(Update(key=policy.key, version=policy.version))
            attached = holder.spec["AttachedPolicies"]
            if policy_arn not in attached:
                if len(attached) >= ATTACHED_MAX:
                    raise over_limit(
                        f"Cannot exceed quota for PoliciesPer{entity.member}: {ATTACHED_MAX}"
                    )
                attached = [*attached, policy_arn]
            spec = holder.spec | {"AttachedPolicies": attached}
            return [*changes, Update(key=holder.key, version=holder.version, spec=spec)]

        await transact(self._store, decide)

    async def _detach(self, call: Call, entity: Entity, name: str, policy_arn: str) -> None:
        def decide() -> Sequence[Change]:
            holder = find(self._store, call, entity, name)
            attached = holder.spec["AttachedPolicies"]
            if policy_arn not in attached:
                raise missing(f"Policy {policy_arn} was not found.")
            spec = holder.spec | {
                "AttachedPolicies": [arn for arn in attached if arn != policy_arn]
            }
            return [Update(key=holder.key, version=holder.version, spec=spec)]

        await transact(self._store, decide)

    def _attached(
        self, call: Call, entity: Entity, name: str, path_prefix: str | None
    ) -> dict[str, Json]:
        found = {}
        for arn in find(self._store, call, entity, name).spec["AttachedPolicies"]:
            policy = policy_of(self._store, call, arn)
            if policy["Path"].startswith(path_prefix or "/"):
                # AWS and the account may have a policy of the same name.
                key = f"{policy['PolicyName']} {Arn.parse(arn).account}"
                found[key] = {"PolicyName": policy["PolicyName"], "PolicyArn": arn}
        return found
