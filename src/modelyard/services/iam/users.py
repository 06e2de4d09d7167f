"""Users of the account."""

from collections.abc import Awaitable, Callable, Sequence

from modelyard.base.arns import iam_arn
from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.services.iam.access_keys import keys_of, principal_of
from modelyard.services.iam.callers import caller_name
from modelyard.services.iam.entities import (
    USER,
    chosen,
    conflict,
    entity_key,
    exists,
    find,
    merge_tags,
    new_record,
    page,
    tag_page,
    transact,
    without_tags,
)
from modelyard.services.members import EXECUTED, REFUSED, Members, check
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    ResourceStore,
    Update,
)

MEMBERS: dict[str, Members] = {
    "CreateUser": {
        "UserName": EXECUTED,
        "Path": EXECUTED,
        "Tags": EXECUTED,
        "PermissionsBoundary": REFUSED,
    }
}
_SHOWN = ("Path", "UserName", "UserId", "Arn", "CreateDate")


class Users:
    """Create, Get, List, Update and DeleteUser; their tags; ListGroupsForUser."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        clock: Clock,
        random: RandomSource,
        publish_keys: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._publish_keys = publish_keys

    async def create_user(
        self,
        call: Call,
        *,
        user_name: str,
        path: str | None = None,
        permissions_boundary: str | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        check("CreateUser", MEMBERS["CreateUser"], {"PermissionsBoundary": permissions_boundary})
        record = new_record(
            USER,
            account=call.account,
            name=user_name,
            path=path,
            clock=self._clock,
            random=self._random,
        )
        spec = record | {
            "Tags": merge_tags([], tags or []),
            "AttachedPolicies": [],
            "InlinePolicies": {},
        }
        try:
            await self._store.write(
                Create(key=entity_key(USER, call.account, user_name), spec=spec)
            )
        except AlreadyExists:
            raise _taken(user_name) from None
        return {"User": _shown(spec)}

    async def get_user(self, call: Call, *, user_name: str | None = None) -> Json:
        """Without a name, the caller."""
        name = user_name or caller_name(call)
        if name:
            return {"User": _shown(find(self._store, call, USER, name).spec)}
        keys = keys_of(self._store, call.account, "")
        created = min((key.created_at for key in keys), default=self._clock.now())
        return {
            "User": {"UserId": call.account, "Arn": iam_arn(call.account, "root")}
            | {"CreateDate": created}
        }

    async def list_users(
        self,
        call: Call,
        *,
        path_prefix: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """Without tags, as AWS's list."""
        found = {
            user.key.name: chosen(user.spec, *_SHOWN)
            for user in self._store.list(USER.kind, account=call.account)
            if user.spec["Path"].startswith(path_prefix or "/")
        }
        return page("Users", found, marker=marker, max_items=max_items)

    async def update_user(
        self,
        call: Call,
        *,
        user_name: str,
        new_path: str | None = None,
        new_user_name: str | None = None,
    ) -> None:
        """Rename or move. Its keys go on working; what they sign is the new ARN's."""

        def decide() -> Sequence[Change]:
            user = find(self._store, call, USER, user_name)
            name, path = new_user_name or user_name, new_path or user.spec["Path"]
            arn = iam_arn(call.account, f"user{path}{name}")
            spec = user.spec | {"UserName": name, "Path": path, "Arn": arn}
            keys = [
                Update(
                    key=key.key,
                    version=key.version,
                    spec=key.spec
                    | {"UserName": name, "principal": principal_of(spec, call.account)},
                )
                for key in keys_of(self._store, call.account, user_name)
            ]
            if name == user_name:
                return [Update(key=user.key, version=user.version, spec=spec), *keys]
            gone = Delete(key=user.key, version=user.version)
            return [gone, Create(key=entity_key(USER, call.account, name), spec=spec), *keys]

        try:
            await transact(self._store, decide)
        except AlreadyExists:
            raise _taken(new_user_name or user_name) from None
        await self._publish_keys()

    async def delete_user(self, call: Call, *, user_name: str) -> None:
        """Refused while keys or policies hang on it, so that nothing is deleted by surprise."""

        def decide() -> Sequence[Change]:
            user = find(self._store, call, USER, user_name)
            if keys_of(self._store, call.account, user_name):
                raise conflict("Cannot delete entity, must delete access keys first.")
            if user.spec["AttachedPolicies"]:
                raise conflict("Cannot delete entity, must detach all policies first.")
            if user.spec["InlinePolicies"]:
                raise conflict("Cannot delete entity, must delete policies first.")
            return [Delete(key=user.key, version=user.version)]

        await transact(self._store, decide)

    async def tag_user(self, call: Call, *, user_name: str, tags: Sequence[Json]) -> None:
        await self._retag(call, user_name, lambda before: merge_tags(before, tags))

    async def untag_user(self, call: Call, *, user_name: str, tag_keys: Sequence[str]) -> None:
        await self._retag(call, user_name, lambda before: without_tags(before, tag_keys))

    async def list_user_tags(
        self,
        call: Call,
        *,
        user_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        tags = find(self._store, call, USER, user_name).spec["Tags"]
        return tag_page(tags, marker=marker, max_items=max_items)

    async def list_groups_for_user(
        self,
        call: Call,
        *,
        user_name: str,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        """None: groups cannot be created here. Tools ask before they delete a user."""
        find(self._store, call, USER, user_name)
        return page("Groups", {}, marker=marker, max_items=max_items)

    async def _retag(
        self, call: Call, name: str, edit: Callable[[Sequence[Json]], Sequence[Json]]
    ) -> None:
        def decide() -> Sequence[Change]:
            user = find(self._store, call, USER, name)
            spec = user.spec | {"Tags": edit(user.spec["Tags"])}
            return [Update(key=user.key, version=user.version, spec=spec)]

        await transact(self._store, decide)


def _shown(spec: Json) -> Json:
    return chosen(spec, *_SHOWN, "Tags")


def _taken(name: str) -> ServiceError:
    return exists(f"User with name {name} already exists.")
