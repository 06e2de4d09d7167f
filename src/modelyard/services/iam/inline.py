"""Inline policies: documents that are part of one user or role."""

from collections.abc import Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.iam import documents
from modelyard.services.iam.entities import (
    ROLE,
    USER,
    Entity,
    find,
    missing,
    over_limit,
    page,
    transact,
)
from modelyard.store.resources import Change, Json, ResourceStore, Update

SIZE_MAX = {USER: 2048, ROLE: 10_240}
"""Of all inline policies of one user or role together."""


class InlinePolicies:
    """Put, Get, List and Delete, for users and roles."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def put_user_policy(
        self, call: Call, *, user_name: str, policy_name: str, policy_document: str
    ) -> None:
        await self._put(call, USER, user_name, policy_name, policy_document)

    async def put_role_policy(
        self, call: Call, *, role_name: str, policy_name: str, policy_document: str
    ) -> None:
        await self._put(call, ROLE, role_name, policy_name, policy_document)

    async def get_user_policy(self, call: Call, *, user_name: str, policy_name: str) -> Json:
        return self._get(call, USER, user_name, policy_name)

    async def get_role_policy(self, call: Call, *, role_name: str, policy_name: str) -> Json:
        return self._get(call, ROLE, role_name, policy_name)

    async def list_user_policies(
        self,
        call: Call,
        *,
        user_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        return self._list(call, USER, user_name, marker, max_items)

    async def list_role_policies(
        self,
        call: Call,
        *,
        role_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        return self._list(call, ROLE, role_name, marker, max_items)

    async def delete_user_policy(self, call: Call, *, user_name: str, policy_name: str) -> None:
        await self._delete(call, USER, user_name, policy_name)

    async def delete_role_policy(self, call: Call, *, role_name: str, policy_name: str) -> None:
        await self._delete(call, ROLE, role_name, policy_name)

    async def _put(
        self, call: Call, entity: Entity, name: str, policy_name: str, document: str
    ) -> None:
        documents.check(document, "identity")

        def decide() -> Sequence[Change]:
            holder = find(self._store, call, entity, name)
            policies = holder.spec["InlinePolicies"] | {policy_name: document}
            if sum(documents.size(text) for text in policies.values()) > SIZE_MAX[entity]:
                raise over_limit(
                    f"Maximum policy size of {SIZE_MAX[entity]} bytes exceeded for {entity.noun} {name}"
                )
            spec = holder.spec | {"InlinePolicies": policies}
            return [Update(key=holder.key, version=holder.version, spec=spec)]

        await transact(self._store, decide)

    def _get(self, call: Call, entity: Entity, name: str, policy_name: str) -> Json:
        policies = find(self._store, call, entity, name).spec["InlinePolicies"]
        if policy_name not in policies:
            raise _missing(entity, policy_name)
        return {
            entity.name_member: name,
            "PolicyName": policy_name,
            "PolicyDocument": documents.shown(policies[policy_name]),
        }

    def _list(
        self, call: Call, entity: Entity, name: str, marker: str | None, max_items: int | None
    ) -> Json:
        policies = find(self._store, call, entity, name).spec["InlinePolicies"]
        names = {policy: policy for policy in policies}
        return page("PolicyNames", names, marker=marker, max_items=max_items)

    async def _delete(self, call: Call, entity: Entity, name: str, policy_name: str) -> None:
        def decide() -> Sequence[Change]:
            holder = find(self._store, call, entity, name)
            policies = {**holder.spec["InlinePolicies"]}
            if policies.pop(policy_name, None) is None:
                raise _missing(entity, policy_name)
            spec = holder.spec | {"InlinePolicies": policies}
            return [Update(key=holder.key, version=holder.version, spec=spec)]

        await transact(self._store, decide)


def _missing(entity: Entity, policy_name: str) -> ServiceError:
    return missing(f"The {entity.noun} policy with name {policy_name} cannot be found.")
