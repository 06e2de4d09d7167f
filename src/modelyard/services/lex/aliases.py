"""Aliases of bots: names under which applications talk to one version or another."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.services.lex import limits
from modelyard.services.lex.kinds import (
    ALIAS,
    DRAFT,
    TEST_ALIAS_ID,
    TEST_ALIAS_NAME,
    path,
)
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.locales import check_locale
from modelyard.services.lex.parts import (
    absent,
    change_bot,
    conflict,
    find_bot,
    find_version,
    key_of,
    new_id,
    quota,
    touch,
)
from modelyard.services.members import (
    EXECUTED,
    Members,
    check,
    present,
    refused_unless,
)
from modelyard.store.resources import Change, Create, Delete, Json, Resource, ResourceStore, Update

_NO_LOGS = refused_unless(
    lambda logs: not any(one["enabled"] for kind in logs.values() for one in kind), "none enabled"
)
_CREATED: Members = {
    "botAliasName": EXECUTED,
    "description": EXECUTED,
    "botVersion": EXECUTED,
    "botAliasLocaleSettings": EXECUTED,
    "conversationLogSettings": _NO_LOGS,
    "sentimentAnalysisSettings": refused_unless(
        lambda setting: not setting["detectSentiment"], "detectSentiment false"
    ),
    "botId": EXECUTED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateBotAlias": {**_CREATED, "tags": EXECUTED},
    "UpdateBotAlias": {"botAliasId": EXECUTED, **_CREATED},
}
_SHOWN = (
    "botAliasId",
    "botAliasName",
    "description",
    "botVersion",
    "botAliasLocaleSettings",
    "conversationLogSettings",
    "sentimentAnalysisSettings",
)
HISTORY = 100
"""Versions that an alias is known to have stood for."""


class Aliases:
    """The test alias comes with the bot, stands for its draft, and stays."""

    def __init__(self, *, store: ResourceStore, clock: Clock, random: RandomSource) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    async def create_bot_alias(
        self,
        call: Call,
        *,
        bot_alias_name: str,
        bot_id: str,
        description: str | None = None,
        bot_version: str | None = None,
        bot_alias_locale_settings: Json | None = None,
        conversation_log_settings: Json | None = None,
        sentiment_analysis_settings: Json | None = None,
        tags: Json | None = None,
    ) -> Json:
        given = {
            "botAliasName": bot_alias_name,
            "description": description,
            "botVersion": bot_version,
            "botAliasLocaleSettings": bot_alias_locale_settings,
            "conversationLogSettings": conversation_log_settings,
            "sentimentAnalysisSettings": sentiment_analysis_settings,
        }
        spec = _checked("CreateBotAlias", present(given))
        alias_id = new_id(self._random)
        key = key_of(call, ALIAS, bot_id, alias_id)
        now = self._clock.now()

        def decide(bot: Resource) -> Sequence[Change]:
            known = self._known(call, bot_id)
            self._check_name(known, bot_alias_name, alias_id)
            if len(known) > limits.ALIASES:
                raise quota(limits.ALIASES, f"aliases of the bot {bot_id}")
            if bot_version is not None:
                find_version(self._store, call, bot_id, bot_version)
            whole = {
                "botAliasId": alias_id, **spec, "tags": tags or {}, "history": _history([], bot_version, now)
            }  # fmt: skip
            return Create(key=key, spec=whole), touch(bot)

        written = await change_bot(self._store, call, bot_id, decide)
        shown = {**_described(written), "botAliasStatus": "Creating", "tags": tags}
        return present({**shown, "lastUpdatedDateTime": None, "botAliasHistoryEvents": None})

    async def describe_bot_alias(self, call: Call, *, bot_alias_id: str, bot_id: str) -> Json:
        return _described(self._find(call, bot_id, bot_alias_id))

    async def update_bot_alias(
        self,
        call: Call,
        *,
        bot_alias_id: str,
        bot_alias_name: str,
        bot_id: str,
        description: str | None = None,
        bot_version: str | None = None,
        bot_alias_locale_settings: Json | None = None,
        conversation_log_settings: Json | None = None,
        sentiment_analysis_settings: Json | None = None,
    ) -> Json:
        """Replaces all of it: whoever talks to the alias talks to the new version from the next request on."""
        given = {
            "botAliasName": bot_alias_name,
            "description": description,
            "botVersion": bot_version,
            "botAliasLocaleSettings": bot_alias_locale_settings,
            "conversationLogSettings": conversation_log_settings,
            "sentimentAnalysisSettings": sentiment_analysis_settings,
        }
        spec = _checked("UpdateBotAlias", present(given))
        is_test = bot_alias_id == TEST_ALIAS_ID
        if is_test and (bot_alias_name != TEST_ALIAS_NAME or bot_version != DRAFT):
            raise ValidationError(
                f"The test alias is named {TEST_ALIAS_NAME} and stands for the version {DRAFT}."
            )
        if bot_version == DRAFT and not is_test:
            raise ValidationError("Only the test alias stands for the version DRAFT.")
        now = self._clock.now()

        def decide(bot: Resource) -> Sequence[Change]:
            found = self._find(call, bot_id, bot_alias_id)
            self._check_name(self._known(call, bot_id), bot_alias_name, bot_alias_id)
            if bot_version not in (None, DRAFT):
                find_version(self._store, call, bot_id, str(bot_version))
            whole = {
                "botAliasId": bot_alias_id,
                **spec,
                "tags": found.spec.get("tags", {}),
                "history": _history(found.spec.get("history", []), bot_version, now),
            }
            return Update(key=found.key, version=found.version, spec=whole), touch(bot)

        written = await change_bot(self._store, call, bot_id, decide)
        return present({**_described(written), "botAliasHistoryEvents": None})

    async def delete_bot_alias(
        self,
        call: Call,
        *,
        bot_alias_id: str,
        bot_id: str,
        skip_resource_in_use_check: bool | None = None,
    ) -> Json:
        """Nothing but applications uses an alias, so that there is no check to skip."""
        if bot_alias_id == TEST_ALIAS_ID:
            find_bot(self._store, call, bot_id)
            raise ServiceError(
                "PreconditionFailedException", "The test alias cannot be deleted.", status=412
            )

        def decide(bot: Resource) -> Sequence[Change]:
            found = self._find(call, bot_id, bot_alias_id)
            return Delete(key=found.key, version=found.version), touch(bot)

        await change_bot(self._store, call, bot_id, decide)
        return {"botAliasId": bot_alias_id, "botId": bot_id, "botAliasStatus": "Deleting"}

    async def list_bot_aliases(
        self,
        call: Call,
        *,
        bot_id: str,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        find_bot(self._store, call, bot_id)
        rows = []
        for one in self._known(call, bot_id):
            about = _described(one)
            summary = {name: about[name] for name in _SUMMARY if name in about}
            rows.append(Row(name=one.spec["botAliasName"], summary=summary))
        asked = Asked(of=bot_id, max_results=max_results, next_token=next_token)
        found = listed(call, rows, asked, by="BotAliasName")
        return answer(found, "botAliasSummaries", botId=bot_id)

    def _known(self, call: Call, bot_id: str) -> Sequence[Resource]:
        return self._store.list(
            ALIAS, account=call.account, region=call.region, prefix=path(bot_id, "")
        )

    def _check_name(self, known: Sequence[Resource], name: str, alias_id: str) -> None:
        if any(
            one.spec["botAliasName"] == name and one.spec["botAliasId"] != alias_id for one in known
        ):
            raise conflict(f"The bot has an alias with the name {name} already.")

    def _find(self, call: Call, bot_id: str, alias_id: str) -> Resource:
        found = self._store.get(key_of(call, ALIAS, bot_id, alias_id))
        if found is None:
            raise absent(call, f"the alias {alias_id} of the bot {bot_id}")
        return found


_SUMMARY = (
    "botAliasId",
    "botAliasName",
    "description",
    "botVersion",
    "botAliasStatus",
    "creationDateTime",
    "lastUpdatedDateTime",
)


def _checked(operation: str, given: Json) -> Json:
    check(operation, MEMBERS[operation], given)
    for locale_id in given.get("botAliasLocaleSettings") or ():
        check_locale(locale_id)
    return given


def _history(before: Sequence[Json], version: str | None, now: float) -> list[Json]:
    """What the alias stood for, the present one without an end."""
    if before and before[-1]["botVersion"] == version and "endDate" not in before[-1]:
        return list(before)
    ended = (
        [*before[:-1], {**before[-1], "endDate": now}]
        if before and "endDate" not in before[-1]
        else list(before)
    )
    if version is None:
        return ended
    return [*ended, {"botVersion": version, "startDate": now}][-HISTORY:]


def _described(alias: Resource) -> Json:
    return present(
        {
            **{name: alias.spec.get(name) for name in _SHOWN},
            "botAliasHistoryEvents": alias.spec.get("history"),
            "botAliasStatus": "Available",
            "botId": alias.key.name.partition("/")[0],
            "creationDateTime": alias.created_at,
            "lastUpdatedDateTime": alias.updated_at,
        }
    )
