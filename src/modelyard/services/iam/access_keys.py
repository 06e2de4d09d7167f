"""Access keys: what users, and the account's root, sign with. A change is answered when every process knows it."""

from collections.abc import Awaitable, Callable, Sequence

from modelyard.base.arns import iam_arn
from modelyard.base.call import Call
from modelyard.base.ids import RandomSource, access_key_id, secret_access_key
from modelyard.services.iam.callers import caller_name
from modelyard.services.iam.entities import (
    USER,
    find,
    malformed,
    missing,
    over_limit,
    page,
    transact,
)
from modelyard.store.resources import (
    Change,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

KIND = "iam-access-key"
KEYS_MAX = 2


class AccessKeys:
    """Create, List, Update and DeleteAccessKey. Without a user's name they are about the caller's own keys."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        random: RandomSource,
        publish_keys: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._random = random
        self._publish_keys = publish_keys

    async def create_access_key(self, call: Call, *, user_name: str | None = None) -> Json:
        """The only answer that ever shows the secret."""
        name = user_name or caller_name(call)
        key_id, secret = access_key_id(self._random), secret_access_key(self._random)

        def decide() -> Sequence[Change]:
            if len(keys_of(self._store, call.account, name)) >= KEYS_MAX:
                raise over_limit(f"Cannot exceed quota for AccessKeysPerUser: {KEYS_MAX}")
            spec: Json = {"UserName": name, "Secret": secret, "Status": "Active"}
            if not name:
                spec["principal"] = _root(call.account)
                return [Create(key=_key(call, key_id), spec=spec)]
            user = find(self._store, call, USER, name)
            spec["principal"] = principal_of(user.spec, call.account)
            # The user's version rises too: whoever deletes or renames it meanwhile decides again.
            return [
                Create(key=_key(call, key_id), spec=spec),
                Update(key=user.key, version=user.version),
            ]

        created = (await transact(self._store, decide))[0]
        await self._publish_keys()
        return {"AccessKey": _shown(created) | {"SecretAccessKey": secret}}

    async def list_access_keys(
        self,
        call: Call,
        *,
        user_name: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> Json:
        name = self._existing(call, user_name)
        found = {key.key.name: _shown(key) for key in keys_of(self._store, call.account, name)}
        return page("AccessKeyMetadata", found, marker=marker, max_items=max_items)

    async def update_access_key(
        self,
        call: Call,
        *,
        access_key_id: str,
        status: str,
        user_name: str | None = None,
    ) -> None:
        """Activate or deactivate: on return no process accepts what is inactive."""
        if status not in ("Active", "Inactive"):
            raise malformed(f"Status {status} cannot be set: use Active or Inactive.")
        name = self._existing(call, user_name)

        def decide() -> Sequence[Change]:
            key = self._find(call, name, access_key_id)
            return [Update(key=key.key, version=key.version, spec=key.spec | {"Status": status})]

        await transact(self._store, decide)
        await self._publish_keys()

    async def delete_access_key(
        self, call: Call, *, access_key_id: str, user_name: str | None = None
    ) -> None:
        name = self._existing(call, user_name)

        def decide() -> Sequence[Change]:
            key = self._find(call, name, access_key_id)
            return [Delete(key=key.key, version=key.version)]

        await transact(self._store, decide)
        await self._publish_keys()

    def _existing(self, call: Call, user_name: str | None) -> str:
        name = user_name or caller_name(call)
        if name:
            find(self._store, call, USER, name)
        return name

    def _find(self, call: Call, name: str, key_id: str) -> Resource:
        key = self._store.get(_key(call, key_id))
        if key is None or key.spec["UserName"] != name:
            raise missing(f"The Access Key with id {key_id} cannot be found.")
        return key


def keys_of(store: ResourceStore, account: str, user_name: str) -> Sequence[Resource]:
    """The keys of a user; of the account's root where the name is empty."""
    return [key for key in store.list(KIND, account=account) if key.spec["UserName"] == user_name]


def principal_of(user: Json, account: str) -> Json:
    """Who signs with a key of this user, as the published table says it."""
    return {"kind": "user", "arn": user["Arn"], "id": user["UserId"], "account": account}


def _root(account: str) -> Json:
    return {
        "kind": "root",
        "arn": iam_arn(account, "root"),
        "id": account,
        "account": account,
    }


def _key(call: Call, key_id: str) -> Key:
    return Key(kind=KIND, account=call.account, region="", name=key_id)


def _shown(key: Resource) -> Json:
    name = key.spec["UserName"]
    return {
        **({"UserName": name} if name else {}),
        "AccessKeyId": key.key.name,
        "Status": key.spec["Status"],
        "CreateDate": key.created_at,
    }
