"""Managed policies: documents with versions and a name of their own, attached to users and roles."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.services.iam import documents, managed
from modelyard.services.iam.entities import (
    POLICY,
    ROLE,
    USER,
    chosen,
    conflict,
    entity_key,
    exists,
    invalid,
    merge_tags,
    missing,
    new_record,
    over_limit,
    page,
    tag_page,
    transact,
    without_tags,
)
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    Resource,
    ResourceStore,
    Update,
)

SIZE_MAX = 6144
VERSIONS_MAX = 5
_LISTED = (
    "PolicyName", "PolicyId", "Arn", "Path", "DefaultVersionId", "CreateDate", "UpdateDate",
)  # fmt: skip


class Policies:
    """Create, Get, List and DeletePolicy; their versions; their tags."""

    def __init__(self, *, store: ResourceStore, clock: Clock, random: RandomSource) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    async def create_policy(
        self,
        call: Call,
        *,
        policy_name: str,
        policy_document: str,
        path: str | None = None,
        description: str | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        _check_document(policy_document)
        record = new_record(
            POLICY,
            account=call.account,
            name=policy_name,
            path=path,
            clock=self._clock,
            random=self._random,
        )
        created = record["CreateDate"]
        spec = record | {
            "UpdateDate": created,
            "Description": description or "",
            "DefaultVersionId": "v1",
            "Versions": {"v1": {"Document": policy_document, "CreateDate": created}},
            "LastVersion": 1,
            "Tags": merge_tags([], tags or []),
        }
        try:
            await self._store.write(
                Create(key=entity_key(POLICY, call.account, policy_name), spec=spec)
            )
        except AlreadyExists:
            raise exists(
                f"A policy called {policy_name} already exists. Duplicate names are not allowed."
            ) from None
        return {"Policy": _listed(spec, 0) | chosen(spec, "Tags")}

    async def get_policy(self, call: Call, *, policy_arn: str) -> Json:
        spec = policy_of(self._store, call, policy_arn)
        count = _attachments(self._store, call)[policy_arn]
        return {"Policy": _listed(spec, count) | chosen(spec, "Description", "Tags")}

    async def list_policies(
        self,
        call: Call,
        *,
        scope: str | None = None,
        only_attached: bool | None = None,
        path_prefix: str | None = None,
        policy_usage_filter: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """Without descriptions and tags, as AWS's list."""
        specs: list[Mapping[str, Any]] = []
        if scope != "Local":
            specs += managed.POLICIES.values()
        if scope != "AWS":
            specs += [one.spec for one in self._store.list(POLICY.kind, account=call.account)]
        if policy_usage_filter == "PermissionsBoundary":
            specs = []  # Boundaries are refused, so none is used.
        counts = _attachments(self._store, call)
        found = {
            f"{spec['PolicyName']} {Arn.parse(spec['Arn']).account}": _listed(
                spec, counts[spec["Arn"]]
            )
            for spec in specs
            if spec["Path"].startswith(path_prefix or "/")
            and (counts[spec["Arn"]] or not only_attached)
        }
        return page("Policies", found, marker=marker, max_items=max_items)

    async def delete_policy(self, call: Call, *, policy_arn: str) -> None:
        """Refused while it is attached, or has versions beside the default one."""

        def decide() -> Sequence[Change]:
            policy = customer_policy(self._store, call, policy_arn)
            if _attachments(self._store, call)[policy_arn]:
                raise conflict("Cannot delete a policy attached to entities.")
            if len(policy.spec["Versions"]) > 1:
                raise conflict(
                    "This policy has more than one version. Before you delete a policy, you must delete the "
                    "policy's versions. The default version is deleted with the policy."
                )
            return [Delete(key=policy.key, version=policy.version)]

        await transact(self._store, decide)

    async def create_policy_version(
        self,
        call: Call,
        *,
        policy_arn: str,
        policy_document: str,
        set_as_default: bool | None = None,
    ) -> Json:
        _check_document(policy_document)

        def decide() -> Sequence[Change]:
            policy = customer_policy(self._store, call, policy_arn)
            spec = policy.spec
            if len(spec["Versions"]) >= VERSIONS_MAX:
                raise over_limit(
                    f"A managed policy can have up to {VERSIONS_MAX} versions. Before you create a new version, "
                    "you must delete an existing version."
                )
            number = spec["LastVersion"] + 1  # Never used again, even after its version is gone.
            now = self._clock.now()
            version = {"Document": policy_document, "CreateDate": now}
            changes = {
                "Versions": spec["Versions"] | {f"v{number}": version},
                "LastVersion": number,
                "UpdateDate": now,
            }
            if set_as_default:
                changes["DefaultVersionId"] = f"v{number}"
            return [Update(key=policy.key, version=policy.version, spec=spec | changes)]

        spec = (await transact(self._store, decide))[0].spec
        shown = _version(spec, f"v{spec['LastVersion']}")
        return {"PolicyVersion": chosen(shown, "VersionId", "IsDefaultVersion", "CreateDate")}

    async def get_policy_version(self, call: Call, *, policy_arn: str, version_id: str) -> Json:
        spec = policy_of(self._store, call, policy_arn)
        return {"PolicyVersion": _version(spec, version_id)}

    async def list_policy_versions(
        self,
        call: Call,
        *,
        policy_arn: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """Without documents, as AWS's list."""
        spec = policy_of(self._store, call, policy_arn)
        found = {
            f"{int(name[1:]):09}": chosen(
                _version(spec, name), "VersionId", "IsDefaultVersion", "CreateDate"
            )
            for name in spec["Versions"]
        }
        return page("Versions", found, marker=marker, max_items=max_items)

    async def delete_policy_version(self, call: Call, *, policy_arn: str, version_id: str) -> None:
        def decide() -> Sequence[Change]:
            policy = customer_policy(self._store, call, policy_arn)
            _version(policy.spec, version_id)
            if version_id == policy.spec["DefaultVersionId"]:
                raise conflict("Cannot delete the default version of a policy.")
            versions = {**policy.spec["Versions"]}
            del versions[version_id]
            spec = policy.spec | {"Versions": versions}
            return [Update(key=policy.key, version=policy.version, spec=spec)]

        await transact(self._store, decide)

    async def set_default_policy_version(
        self, call: Call, *, policy_arn: str, version_id: str
    ) -> None:
        def decide() -> Sequence[Change]:
            policy = customer_policy(self._store, call, policy_arn)
            _version(policy.spec, version_id)
            spec = policy.spec | {
                "DefaultVersionId": version_id,
                "UpdateDate": self._clock.now(),
            }
            return [Update(key=policy.key, version=policy.version, spec=spec)]

        await transact(self._store, decide)

    async def tag_policy(self, call: Call, *, policy_arn: str, tags: Sequence[Json]) -> None:
        def decide() -> Sequence[Change]:
            policy = customer_policy(self._store, call, policy_arn)
            spec = policy.spec | {"Tags": merge_tags(policy.spec["Tags"], tags)}
            return [Update(key=policy.key, version=policy.version, spec=spec)]

        await transact(self._store, decide)

    async def untag_policy(self, call: Call, *, policy_arn: str, tag_keys: Sequence[str]) -> None:
        def decide() -> Sequence[Change]:
            policy = customer_policy(self._store, call, policy_arn)
            spec = policy.spec | {"Tags": without_tags(policy.spec["Tags"], tag_keys)}
            return [Update(key=policy.key, version=policy.version, spec=spec)]

        await transact(self._store, decide)

    async def list_policy_tags(
        self,
        call: Call,
        *,
        policy_arn: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        tags = policy_of(self._store, call, policy_arn)["Tags"]
        return tag_page(tags, marker=marker, max_items=max_items)


def policy_of(store: ResourceStore, call: Call, policy_arn: str) -> Mapping[str, Any]:
    """The record of a policy of AWS or of the account. Raises ``NoSuchEntity``, ``InvalidInput``."""
    arn = _parse(policy_arn)
    if arn.account == managed.ACCOUNT:
        spec = managed.POLICIES.get(arn.resource.rpartition("/")[2])
        if spec is None or spec["Arn"] != policy_arn:
            raise missing(f"Policy {policy_arn} was not found.")
        return spec
    return customer_policy(store, call, policy_arn).spec


def customer_policy(store: ResourceStore, call: Call, policy_arn: str) -> Resource:
    """A policy of the account, to be changed. Raises as ``policy_of``, and for one of AWS."""
    arn = _parse(policy_arn)
    if arn.account == managed.ACCOUNT:
        raise ServiceError(
            "AccessDenied", f"{policy_arn} is managed by AWS and cannot be changed.", status=403
        )
    found = store.get(entity_key(POLICY, call.account, arn.resource.rpartition("/")[2]))
    if found is None or found.spec["Arn"] != policy_arn:
        raise missing(f"Policy {policy_arn} was not found.")
    return found


def _parse(policy_arn: str) -> Arn:
    try:
        arn = Arn.parse(policy_arn)
    except ValueError:
        raise invalid(f"ARN {policy_arn} is not valid.") from None
    if arn.service != "iam" or not arn.resource.startswith("policy/"):
        raise invalid(f"ARN {policy_arn} is not valid.")
    return arn


def _attachments(store: ResourceStore, call: Call) -> Counter[str]:
    """How many users and roles of the account have each policy attached, by ARN."""
    return Counter(
        arn
        for entity in (USER, ROLE)
        for holder in store.list(entity.kind, account=call.account)
        for arn in holder.spec["AttachedPolicies"]
    )


def _check_document(document: str) -> None:
    documents.check(document, "identity")
    if documents.size(document) > SIZE_MAX:
        raise over_limit(f"Cannot exceed quota for PolicySize: {SIZE_MAX}")


def _listed(spec: Mapping[str, Any], attachments: int) -> Json:
    return chosen(spec, *_LISTED) | {
        "AttachmentCount": attachments,
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": True,
    }


def _version(spec: Mapping[str, Any], version_id: str) -> Json:
    version = spec["Versions"].get(version_id)
    if version is None:
        raise missing(
            f"Policy {spec['Arn']} version {version_id} does not exist or is not attachable."
        )
    return {
        "Document": documents.shown(version["Document"]),
        "VersionId": version_id,
        "IsDefaultVersion": version_id == spec["DefaultVersionId"],
        "CreateDate": version["CreateDate"],
    }
