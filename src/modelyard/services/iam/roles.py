"""Roles of the account: what models and jobs act as, and what AssumeRole hands out."""

from collections.abc import Callable, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.services.iam import documents
from modelyard.services.iam.entities import (
    ROLE,
    chosen,
    conflict,
    entity_key,
    exists,
    find,
    merge_tags,
    new_record,
    over_limit,
    page,
    tag_page,
    transact,
    without_tags,
)
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    ResourceStore,
    Update,
)

SESSION_SECONDS = 3600
TRUST_SIZE_MAX = 4096
MEMBERS: dict[str, Members] = {
    "CreateRole": {
        "RoleName": EXECUTED,
        "AssumeRolePolicyDocument": RECORDED,
        "Path": EXECUTED,
        "Description": RECORDED,
        "MaxSessionDuration": EXECUTED,
        "Tags": EXECUTED,
        "PermissionsBoundary": REFUSED,
    }
}
_LISTED = (
    "Path", "RoleName", "RoleId", "Arn", "CreateDate", "AssumeRolePolicyDocument", "Description",
    "MaxSessionDuration",
)  # fmt: skip


class Roles:
    """Create, Get, List, Update and DeleteRole; trust policies; tags; ListInstanceProfilesForRole."""

    def __init__(self, *, store: ResourceStore, clock: Clock, random: RandomSource) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    async def create_role(
        self,
        call: Call,
        *,
        role_name: str,
        assume_role_policy_document: str,
        path: str | None = None,
        description: str | None = None,
        max_session_duration: int | None = None,
        permissions_boundary: str | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        check("CreateRole", MEMBERS["CreateRole"], {"PermissionsBoundary": permissions_boundary})
        _check_trust(assume_role_policy_document)
        spec = new_record(
            ROLE,
            account=call.account,
            name=role_name,
            path=path,
            clock=self._clock,
            random=self._random,
        ) | {
            "AssumeRolePolicyDocument": assume_role_policy_document,
            "Description": description or "",
            "MaxSessionDuration": max_session_duration or SESSION_SECONDS,
            "Tags": merge_tags([], tags or []),
            "AttachedPolicies": [],
            "InlinePolicies": {},
        }
        try:
            await self._store.write(
                Create(key=entity_key(ROLE, call.account, role_name), spec=spec)
            )
        except AlreadyExists:
            raise exists(f"Role with name {role_name} already exists.") from None
        return {"Role": _shown(spec)}

    async def get_role(self, call: Call, *, role_name: str) -> Json:
        return {"Role": _shown(find(self._store, call, ROLE, role_name).spec)}

    async def list_roles(
        self,
        call: Call,
        *,
        path_prefix: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """Without tags, as AWS's list."""
        found = {
            role.key.name: _shown(role.spec | {"Tags": []})
            for role in self._store.list(ROLE.kind, account=call.account)
            if role.spec["Path"].startswith(path_prefix or "/")
        }
        return page("Roles", found, marker=marker, max_items=max_items)

    async def update_role(
        self,
        call: Call,
        *,
        role_name: str,
        description: str | None = None,
        max_session_duration: int | None = None,
    ) -> Json:
        changes: Json = {}
        if description is not None:
            changes["Description"] = description
        if max_session_duration is not None:
            changes["MaxSessionDuration"] = max_session_duration
        await self._change(call, role_name, lambda _spec: changes)
        return {}

    async def update_role_description(
        self, call: Call, *, role_name: str, description: str
    ) -> Json:
        spec = await self._change(call, role_name, lambda _spec: {"Description": description})
        return {"Role": _shown(spec)}

    async def update_assume_role_policy(
        self, call: Call, *, role_name: str, policy_document: str
    ) -> None:
        _check_trust(policy_document)
        await self._change(
            call, role_name, lambda _spec: {"AssumeRolePolicyDocument": policy_document}
        )

    async def delete_role(self, call: Call, *, role_name: str) -> None:
        """Refused while policies hang on it."""

        def decide() -> Sequence[Change]:
            role = find(self._store, call, ROLE, role_name)
            if role.spec["AttachedPolicies"]:
                raise conflict("Cannot delete entity, must detach all policies first.")
            if role.spec["InlinePolicies"]:
                raise conflict("Cannot delete entity, must delete policies first.")
            return [Delete(key=role.key, version=role.version)]

        await transact(self._store, decide)

    async def tag_role(self, call: Call, *, role_name: str, tags: Sequence[Json]) -> None:
        await self._change(call, role_name, lambda spec: {"Tags": merge_tags(spec["Tags"], tags)})

    async def untag_role(self, call: Call, *, role_name: str, tag_keys: Sequence[str]) -> None:
        await self._change(
            call, role_name, lambda spec: {"Tags": without_tags(spec["Tags"], tag_keys)}
        )

    async def list_role_tags(
        self,
        call: Call,
        *,
        role_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        tags = find(self._store, call, ROLE, role_name).spec["Tags"]
        return tag_page(tags, marker=marker, max_items=max_items)

    async def list_instance_profiles_for_role(
        self,
        call: Call,
        *,
        role_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """None: instance profiles cannot be created here. Tools ask before they delete a role."""
        find(self._store, call, ROLE, role_name)
        return page("InstanceProfiles", {}, marker=marker, max_items=max_items)

    async def _change(self, call: Call, name: str, edit: Callable[[Json], Json]) -> Json:
        def decide() -> Sequence[Change]:
            role = find(self._store, call, ROLE, name)
            return [Update(key=role.key, version=role.version, spec=role.spec | edit(role.spec))]

        return (await transact(self._store, decide))[0].spec


def _check_trust(document: str) -> None:
    documents.check(document, "trust")
    if documents.size(document) > TRUST_SIZE_MAX:
        raise over_limit(f"Cannot exceed quota for ACLSizePerRole: {TRUST_SIZE_MAX}")


def _shown(spec: Json) -> Json:
    document = documents.shown(spec["AssumeRolePolicyDocument"])
    return chosen(spec | {"AssumeRolePolicyDocument": document}, *_LISTED, "Tags")
