"""Bots: create, describe, update, delete, list."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.ids import RandomSource
from modelyard.services.lex.kinds import (
    ALIAS,
    BOT,
    BOT_NAME,
    BUILD,
    DRAFT,
    INTENT,
    LOCALE,
    SLOT,
    SLOT_TYPE,
    TEST_ALIAS_ID,
    TEST_ALIAS_NAME,
    VERSION,
    path,
)
from modelyard.services.lex.limits import BOTS
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.parts import (
    change_bot,
    conflict,
    find_bot,
    key_of,
    new_id,
    quota,
)
from modelyard.services.members import (
    EXECUTED,
    RECORDED,
    REFUSED,
    Member,
    Members,
    check,
    only,
    present,
    refused_unless,
)
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

NO_ERROR_LOGS: Member = refused_unless(lambda logs: not logs["enabled"], "enabled false")
_UPDATED: Members = {
    "botName": EXECUTED,
    "description": EXECUTED,
    "roleArn": RECORDED,
    "dataPrivacy": RECORDED,
    "idleSessionTTLInSeconds": EXECUTED,
    "botType": only("Bot"),
    "botMembers": REFUSED,
    "errorLogSettings": NO_ERROR_LOGS,
}
MEMBERS: Mapping[str, Members] = {
    "CreateBot": {**_UPDATED, "botTags": EXECUTED, "testBotAliasTags": EXECUTED},
    "UpdateBot": {"botId": EXECUTED, **_UPDATED},
}
_SHOWN = (
    "botName",
    "description",
    "roleArn",
    "dataPrivacy",
    "idleSessionTTLInSeconds",
    "botType",
    "errorLogSettings",
)
_ALL = (BOT, LOCALE, INTENT, SLOT, SLOT_TYPE, VERSION, ALIAS, BUILD)


class Bots:
    """What a bot is as a whole; its locales hold what it understands."""

    def __init__(self, *, store: ResourceStore, random: RandomSource, roles: Roles) -> None:
        self._store = store
        self._random = random
        self._roles = roles

    async def create_bot(
        self,
        call: Call,
        *,
        bot_name: str,
        role_arn: str,
        data_privacy: Json,
        idle_session_ttl_in_seconds: int,
        description: str | None = None,
        bot_tags: Json | None = None,
        test_bot_alias_tags: Json | None = None,
        bot_type: str | None = None,
        bot_members: Sequence[Json] | None = None,
        error_log_settings: Json | None = None,
    ) -> Json:
        """With its test alias."""
        spec = _spec(
            bot_name=bot_name,
            description=description,
            role_arn=role_arn,
            data_privacy=data_privacy,
            idle_session_ttl_in_seconds=idle_session_ttl_in_seconds,
            bot_type=bot_type,
            error_log_settings=error_log_settings,
        )
        check("CreateBot", MEMBERS["CreateBot"], {**spec, "botMembers": bot_members})
        self._roles.check(call, role_arn)
        bot_id = new_id(self._random)
        changes = creation(call, bot_id, spec, tags=bot_tags, alias_tags=test_bot_alias_tags)
        written = await write_new_bot(self._store, call, bot_name, changes)
        return present(
            {
                **_described(written),
                "botStatus": "Creating",
                "lastUpdatedDateTime": None,
                "botTags": bot_tags,
                "testBotAliasTags": test_bot_alias_tags,
            }
        )

    async def describe_bot(self, call: Call, *, bot_id: str) -> Json:
        return _described(find_bot(self._store, call, bot_id))

    async def update_bot(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_name: str,
        role_arn: str,
        data_privacy: Json,
        idle_session_ttl_in_seconds: int,
        description: str | None = None,
        bot_type: str | None = None,
        bot_members: Sequence[Json] | None = None,
        error_log_settings: Json | None = None,
    ) -> Json:
        """Replaces all of it; a built locale has to be built anew."""
        spec = _spec(
            bot_name=bot_name,
            description=description,
            role_arn=role_arn,
            data_privacy=data_privacy,
            idle_session_ttl_in_seconds=idle_session_ttl_in_seconds,
            bot_type=bot_type,
            error_log_settings=error_log_settings,
        )
        check("UpdateBot", MEMBERS["UpdateBot"], {**spec, "botMembers": bot_members})
        self._roles.check(call, role_arn)

        def decide(bot: Resource) -> Sequence[Change]:
            kept = {name: bot.spec[name] for name in ("botId", "tags", "versions")}
            update = Update(key=bot.key, version=bot.version, spec={**spec, **kept})
            if bot.spec["botName"] == bot_name:
                return (update,)
            if self._store.get(key_of(call, BOT_NAME, bot_name)) is not None:
                raise _taken(bot_name)
            old = key_of(call, BOT_NAME, bot.spec["botName"])
            return update, Delete(key=old), _name(call, bot_name, bot_id)

        try:
            written = await change_bot(self._store, call, bot_id, decide)
        except AlreadyExists:
            raise _taken(bot_name) from None
        return _described(written)

    async def delete_bot(
        self, call: Call, *, bot_id: str, skip_resource_in_use_check: bool | None = None
    ) -> Json:
        """With all that belongs to it. One that has aliases, the test alias apart, is in use."""

        def decide(bot: Resource) -> Sequence[Change]:
            aliases = _of_bot(self._store, bot.key, ALIAS)
            own = [
                one.spec["botAliasName"]
                for one in aliases
                if one.spec["botAliasId"] != TEST_ALIAS_ID
            ]
            if own and not skip_resource_in_use_check:
                raise conflict(
                    f"The bot is in use by its aliases {', '.join(own)}: delete them first, or set skipResourceInUseCheck."
                )
            return deletion(self._store, bot)

        await change_bot(self._store, call, bot_id, decide)
        return {"botId": bot_id, "botStatus": "Deleting"}

    async def list_bots(
        self,
        call: Call,
        *,
        sort_by: Json | None = None,
        filters: Sequence[Json] | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        found = listed(
            call,
            (
                Row(
                    name=one.spec["botName"],
                    summary=_summary(one),
                    fields={"BotName": one.spec["botName"], "BotType": one.spec["botType"]},
                )
                for one in self._store.list(BOT, account=call.account, region=call.region)
            ),
            Asked(sort_by=sort_by, filters=filters, max_results=max_results, next_token=next_token),
            by="BotName",
        )
        return answer(found, "botSummaries")


def creation(
    call: Call, bot_id: str, spec: Json, *, tags: Json | None, alias_tags: Json | None
) -> tuple[Change, ...]:
    """A new bot, first; its name, and its test alias."""
    alias = {
        "botAliasId": TEST_ALIAS_ID,
        "botAliasName": TEST_ALIAS_NAME,
        "description": "Answers with the draft as it was last built.",
        "botVersion": DRAFT,
        "tags": alias_tags or {},
    }
    whole = {**spec, "botId": bot_id, "tags": tags or {}, "versions": 0}
    return (
        Create(key=key_of(call, BOT, bot_id), spec=whole),
        _name(call, spec["botName"], bot_id),
        Create(key=key_of(call, ALIAS, bot_id, TEST_ALIAS_ID), spec=alias),
    )


async def write_new_bot(
    store: ResourceStore, call: Call, name: str, changes: Sequence[Change]
) -> Resource:
    """The bot, which is the first of the changes. Raises ``ConflictException`` for a name that is taken."""
    if len(store.list(BOT, account=call.account, region=call.region)) >= BOTS:
        raise quota(BOTS, "bots")
    try:
        bot, *_ = await store.write(*changes)
    except AlreadyExists:
        raise _taken(name) from None
    return bot


def deletion(store: ResourceStore, bot: Resource) -> tuple[Change, ...]:
    """The bot, first, and all that belongs to it, on condition that none of it was changed meanwhile."""
    name = Key(
        kind=BOT_NAME, account=bot.key.account, region=bot.key.region, name=bot.spec["botName"]
    )
    found = [one for kind in _ALL if kind != BOT for one in _of_bot(store, bot.key, kind)]
    return (
        Delete(key=bot.key, version=bot.version),
        Delete(key=name),
        # A build's status is the reconciler's to write; whatever it writes, the build goes.
        *(
            Delete(key=one.key, version=None if one.key.kind == BUILD else one.version)
            for one in found
        ),
    )


def find_by_name(store: ResourceStore, call: Call, name: str) -> Resource | None:
    """The bot of this name."""
    found = store.get(key_of(call, BOT_NAME, name))
    return store.get(key_of(call, BOT, found.spec["botId"])) if found is not None else None


def _of_bot(store: ResourceStore, key: Key, kind: str) -> Sequence[Resource]:
    return store.list(kind, account=key.account, region=key.region, prefix=path(key.name, ""))


def _spec(
    *,
    bot_name: str,
    description: str | None,
    role_arn: str,
    data_privacy: Json,
    idle_session_ttl_in_seconds: int,
    bot_type: str | None,
    error_log_settings: Json | None,
) -> Json:
    return present(
        {
            "botName": bot_name,
            "description": description,
            "roleArn": role_arn,
            "dataPrivacy": data_privacy,
            "idleSessionTTLInSeconds": idle_session_ttl_in_seconds,
            "botType": bot_type or "Bot",
            "errorLogSettings": error_log_settings,
        }
    )


def _name(call: Call, name: str, bot_id: str) -> Create:
    return Create(key=key_of(call, BOT_NAME, name), spec={"botId": bot_id})


def _taken(name: str) -> Exception:
    return conflict(f"There is a bot with the name {name} already.")


def _described(bot: Resource) -> Json:
    return present(
        {
            "botId": bot.spec["botId"],
            **{name: bot.spec.get(name) for name in _SHOWN},
            "botStatus": "Available",
            "creationDateTime": bot.created_at,
            "lastUpdatedDateTime": bot.updated_at,
        }
    )


def _summary(bot: Resource) -> Json:
    return present(
        {
            "botId": bot.spec["botId"],
            "botName": bot.spec["botName"],
            "description": bot.spec.get("description"),
            "botStatus": "Available",
            "latestBotVersion": str(bot.spec["versions"]) if bot.spec["versions"] else None,
            "lastUpdatedDateTime": bot.updated_at,
            "botType": bot.spec["botType"],
        }
    )
