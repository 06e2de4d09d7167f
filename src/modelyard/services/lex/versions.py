"""Versions of bots: what was built, as it was, for good."""

from collections.abc import Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.lex.definition import of_version
from modelyard.services.lex import limits
from modelyard.services.lex.kinds import ALIAS, BUILD, DRAFT, VERSION, path
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.locales import build_status
from modelyard.services.lex.parts import (
    Place,
    change_bot,
    compiled,
    conflict,
    find_bot,
    find_draft,
    find_version,
    key_of,
    quota,
    touch,
)
from modelyard.services.members import present
from modelyard.store.resources import (
    Change,
    Create,
    Delete,
    Json,
    Resource,
    ResourceStore,
    Update,
)

_BOT = ("botName", "roleArn", "dataPrivacy", "idleSessionTTLInSeconds", "botType")
_DIGITS = 5


class Versions:
    """Each has its number, which is never given again."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def create_bot_version(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version_locale_specification: Json,
        description: str | None = None,
    ) -> Json:
        """Of the locales named, all of which must be built and unchanged since."""
        for name, details in bot_version_locale_specification.items():
            if details["sourceBotVersion"] != DRAFT:
                raise ValidationError(
                    f"The sourceBotVersion of {name} is {details['sourceBotVersion']}: versions are made of DRAFT only."
                )
        number = ""

        def decide(bot: Resource) -> Sequence[Change]:
            nonlocal number
            known = self._store.list(
                VERSION, account=call.account, region=call.region, prefix=path(bot_id, "")
            )
            if len(known) >= limits.VERSIONS:
                raise quota(limits.VERSIONS, f"versions of the bot {bot_id}")
            number = str(bot.spec["versions"] + 1)
            frozen, touched = {}, []
            for name in bot_version_locale_specification:
                place = Place(bot_id=bot_id, bot_version=DRAFT, locale_id=name)
                locale = find_draft(self._store, call, place)
                frozen[name] = {"locale": locale.spec, **self._built(call, place, number)}
                touched.append(touch(locale))
            spec = {
                "botVersion": number,
                "description": description,
                "bot": {name: bot.spec[name] for name in _BOT},
                "locales": frozen,
            }
            key = key_of(call, VERSION, bot_id, number)
            counted = {**bot.spec, "versions": bot.spec["versions"] + 1}
            update = Update(key=bot.key, version=bot.version, spec=counted)
            return Create(key=key, spec=spec), update, *touched

        written = await change_bot(self._store, call, bot_id, decide)
        return present(
            {
                "botId": bot_id,
                "description": description,
                "botVersion": number,
                "botVersionLocaleSpecification": bot_version_locale_specification,
                "botStatus": "Creating",
                "creationDateTime": written.created_at,
            }
        )

    async def describe_bot_version(self, call: Call, *, bot_id: str, bot_version: str) -> Json:
        find_bot(self._store, call, bot_id)
        found = find_version(self._store, call, bot_id, bot_version)
        return present({"botId": bot_id, **found.spec["bot"], **_about(found)})

    async def delete_bot_version(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version: str,
        skip_resource_in_use_check: bool | None = None,
    ) -> Json:
        """One that an alias stands for is in use; with the check skipped, the alias answers nobody any more."""

        def decide(bot: Resource) -> Sequence[Change]:
            found = find_version(self._store, call, bot_id, bot_version)
            aliases = self._store.list(
                ALIAS, account=call.account, region=call.region, prefix=path(bot_id, "")
            )
            users = [
                one.spec["botAliasName"]
                for one in aliases
                if one.spec.get("botVersion") == bot_version
            ]
            if users and not skip_resource_in_use_check:
                raise conflict(
                    f"The version is in use by the aliases {', '.join(users)}: change or delete them first, "
                    "or set skipResourceInUseCheck."
                )
            return Delete(key=found.key, version=found.version), touch(bot)

        await change_bot(self._store, call, bot_id, decide)
        return {"botId": bot_id, "botVersion": bot_version, "botStatus": "Deleting"}

    async def list_bot_versions(
        self,
        call: Call,
        *,
        bot_id: str,
        sort_by: Json | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        """The draft is one of them, the last."""
        bot = find_bot(self._store, call, bot_id)
        known = self._store.list(
            VERSION, account=call.account, region=call.region, prefix=path(bot_id, "")
        )
        draft = {
            "botName": bot.spec["botName"],
            "botVersion": DRAFT,
            "description": bot.spec.get("description"),
            "botStatus": "Available",
            "creationDateTime": bot.created_at,
        }
        rows = [Row(name=DRAFT, summary=present(draft))]
        for one in known:
            about = {"botName": one.spec["bot"]["botName"], **_about(one)}
            rows.append(Row(name=one.spec["botVersion"].zfill(_DIGITS), summary=present(about)))
        found = listed(
            call,
            rows,
            Asked(of=bot_id, sort_by=sort_by, max_results=max_results, next_token=next_token),
            by="BotVersion",
        )
        return answer(found, "botVersionSummaries", botId=bot_id)

    def _built(self, call: Call, place: Place, number: str) -> Json:
        """What a version keeps of a locale. Raises ``PreconditionFailedException`` where there is nothing that could be kept."""
        build = self._store.get(key_of(call, BUILD, place.bot_id, place.locale_id))
        status, _ = build_status(build, compiled(self._store, call, place))
        if build is None or status != "Built":
            raise ServiceError(
                "PreconditionFailedException",
                f"The locale {place.locale_id} of the bot {place.bot_id} is {status}: build it first.",
                status=412,
            )
        return {
            "definition": of_version(build.status["definition"], number),
            "Model": build.status["Model"],
            "times": build.spec["times"],
        }


def _about(version: Resource) -> Json:
    return {
        "botVersion": version.spec["botVersion"],
        "description": version.spec.get("description"),
        "botStatus": "Available",
        "creationDateTime": version.created_at,
    }
