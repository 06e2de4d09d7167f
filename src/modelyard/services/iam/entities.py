"""What the families of IAM share: keys, ids, ARNs, AWS's words, atomic changes, pages and tags.

IAM has no region. A user, role or policy is one resource whose spec is AWS's record of it, so that a rename may carry
the id and the date of creation along.
"""

import base64
import binascii
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.base.arns import iam_arn
from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.store.resources import Change, Json, Key, Resource, ResourceStore, VersionConflict

ATTEMPTS = 20
PAGE_ITEMS = 100
TAGS_MAX = 50
_ID_ALPHABET = string.ascii_uppercase + string.digits
_ID_LETTERS = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One kind of IAM's things. ``member`` begins its members' names: ``UserName``, ``UserId``."""

    kind: str
    noun: str
    member: str
    id_prefix: str

    @property
    def name_member(self) -> str:
        return f"{self.member}Name"


USER = Entity(kind="iam-user", noun="user", member="User", id_prefix="AIDA")
ROLE = Entity(kind="iam-role", noun="role", member="Role", id_prefix="AROA")
POLICY = Entity(kind="iam-policy", noun="policy", member="Policy", id_prefix="ANPA")


def entity_key(entity: Entity, account: str, name: str) -> Key:
    """Names are unique in an account, whatever their paths."""
    return Key(kind=entity.kind, account=account, region="", name=name)


def new_record(
    entity: Entity,
    *,
    account: str,
    name: str,
    path: str | None,
    clock: Clock,
    random: RandomSource,
) -> Json:
    """AWS's record of a new thing: name, path, id, ARN, date."""
    path = path or "/"
    return {
        entity.name_member: name,
        "Path": path,
        f"{entity.member}Id": entity.id_prefix + random.text(_ID_LETTERS, _ID_ALPHABET),
        "Arn": iam_arn(account, f"{entity.noun}{path}{name}"),
        "CreateDate": clock.now(),
    }


def find(store: ResourceStore, call: Call, entity: Entity, name: str) -> Resource:
    """The caller's thing of this name. Raises ``NoSuchEntity``."""
    resource = store.get(entity_key(entity, call.account, name))
    if resource is None:
        raise missing(f"The {entity.noun} with name {name} cannot be found.")
    return resource


def missing(message: str) -> ServiceError:
    return ServiceError("NoSuchEntity", message, status=404)


def exists(message: str) -> ServiceError:
    return ServiceError("EntityAlreadyExists", message, status=409)


def conflict(message: str) -> ServiceError:
    return ServiceError("DeleteConflict", message, status=409)


def over_limit(message: str) -> ServiceError:
    return ServiceError("LimitExceeded", message, status=409)


def invalid(message: str) -> ServiceError:
    return ServiceError("InvalidInput", message)


def malformed(message: str) -> ServiceError:
    """IAM's word for what other services call ``ValidationException``."""
    return ServiceError("ValidationError", message)


async def transact(
    store: ResourceStore, decide: Callable[[], Sequence[Change]]
) -> Sequence[Resource]:
    """Write what ``decide`` makes of the store as it is; asked again when somebody else was faster.

    A change that relies on another resource's state updates that one too, if only its version: then a concurrent
    change of it makes one of the two decide again. Raises ``ServiceUnavailable`` when others keep winning.
    """
    for _ in range(ATTEMPTS):
        try:
            return await store.write(*decide())
        except VersionConflict:
            continue
    raise ServiceError("ServiceUnavailable", "Too many writers compete in IAM.", status=503)


def page(
    member: str, items: Mapping[str, Any], *, marker: str | None, max_items: int | None
) -> Json:
    """One page of ``items``, in the order of their keys. A marker names the last key before the page."""
    after = "" if marker is None else _unmarked(marker)
    keys = [key for key in sorted(items) if key > after]
    shown = keys[: max_items or PAGE_ITEMS]
    answer: Json = {member: [items[key] for key in shown], "IsTruncated": len(keys) > len(shown)}
    if answer["IsTruncated"]:
        answer["Marker"] = base64.urlsafe_b64encode(shown[-1].encode()).decode()
    return answer


def _unmarked(marker: str) -> str:
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise malformed("Invalid Marker.") from None


def merge_tags(before: Sequence[Json], tags: Sequence[Json]) -> list[Json]:
    """``tags`` added to or replacing those of the same key. Raises ``InvalidInput``, ``LimitExceeded``."""
    names = [tag["Key"].lower() for tag in tags]
    if len(set(names)) < len(names):
        raise invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    merged = {tag["Key"].lower(): tag for tag in [*before, *tags]}
    if len(merged) > TAGS_MAX:
        raise over_limit(f"Cannot exceed quota for TagsPerEntity: {TAGS_MAX}")
    return [{"Key": tag["Key"], "Value": tag["Value"]} for tag in merged.values()]


def without_tags(before: Sequence[Json], keys: Sequence[str]) -> list[Json]:
    gone = {key.lower() for key in keys}
    return [tag for tag in before if tag["Key"].lower() not in gone]


def tag_page(tags: Sequence[Json], *, marker: str | None, max_items: int | None) -> Json:
    return page("Tags", {tag["Key"]: tag for tag in tags}, marker=marker, max_items=max_items)


def chosen(spec: Mapping[str, Any], *members: str) -> Json:
    """The members that the spec has and that are not empty."""
    return {name: spec[name] for name in members if spec.get(name) not in (None, "", [], {})}
