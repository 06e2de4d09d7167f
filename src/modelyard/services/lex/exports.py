"""Exports: a bot, or one of its locales, as an archive that can be fetched and imported elsewhere."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, Unsupported, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.services.changes import change
from modelyard.services.lex import lexjson, limits
from modelyard.services.lex.archive import BadArchive, pack
from modelyard.services.lex.kinds import DRAFT, EXPORT, LOCALE, path
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.locales import LOCALE_NAMES
from modelyard.services.lex.parts import (
    Place,
    absent,
    compiled,
    find_bot,
    find_locale,
    find_version,
    key_of,
    new_id,
    quota,
)
from modelyard.services.members import EXECUTED, REFUSED, Members, check, only, present
from modelyard.services.own_bucket import OwnBucket
from modelyard.store.resources import Create, Delete, Json, Resource, ResourceStore

MEMBERS: Mapping[str, Members] = {
    "CreateExport": {
        "resourceSpecification": {
            "botExportSpecification": EXECUTED,
            "botLocaleExportSpecification": EXECUTED,
            "customVocabularyExportSpecification": REFUSED,
            "testSetExportSpecification": REFUSED,
        },
        "fileFormat": only("LexJson"),
        "filePassword": REFUSED,
    },
    "UpdateExport": {"exportId": EXECUTED, "filePassword": REFUSED},
}
_KINDS = {"botExportSpecification": "Bot", "botLocaleExportSpecification": "BotLocale"}
_Locales = list[tuple[Json, Json]]


class Exports:
    """``locate`` makes an address of an object from which anybody who has it can fetch it for a while."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        random: RandomSource,
        bucket: OwnBucket,
        locate: Callable[[str, str], str],
    ) -> None:
        self._store = store
        self._random = random
        self._bucket = bucket
        self._locate = locate

    async def create_export(
        self,
        call: Call,
        *,
        resource_specification: Json,
        file_format: str,
        file_password: str | None = None,
    ) -> Json:
        """The archive is there when this returns."""
        given = {
            "resourceSpecification": present(resource_specification),
            "fileFormat": file_format,
            "filePassword": file_password,
        }
        check("CreateExport", MEMBERS["CreateExport"], given)
        asked = one_of(resource_specification, _KINDS)
        known = self._store.list(EXPORT, account=call.account, region=call.region)
        if len(known) >= limits.EXPORTS:
            raise quota(limits.EXPORTS, "exports")
        bot, locales = self._collect(call, resource_specification[asked])
        resource = lexjson.BOT_RESOURCE if _KINDS[asked] == "Bot" else lexjson.LOCALE_RESOURCE
        files = lexjson.write(bot, locales, resource=resource)
        try:
            data = await asyncio.to_thread(pack, files)
        except BadArchive as error:
            raise ServiceError("ServiceQuotaExceededException", str(error), status=402) from None
        export_id = new_id(self._random)
        place = f"{call.account}/{call.region}/exports/{export_id}/{bot['botName']}.zip"
        await asyncio.to_thread(self._bucket.put, place, data)
        spec = {
            "resourceSpecification": present(resource_specification),
            "fileFormat": file_format,
            "Object": place,
        }
        create = Create(key=key_of(call, EXPORT, export_id), spec=spec)
        (written,) = await self._store.write(create)
        return {
            "exportId": export_id,
            "resourceSpecification": spec["resourceSpecification"],
            "fileFormat": file_format,
            "exportStatus": "InProgress",
            "creationDateTime": written.created_at,
        }

    async def describe_export(self, call: Call, *, export_id: str) -> Json:
        found = self._find(call, export_id)
        url = self._locate(self._bucket.name, found.spec["Object"])
        return {**_described(found), "downloadUrl": url}

    async def update_export(
        self, call: Call, *, export_id: str, file_password: str | None = None
    ) -> Json:
        """There is nothing but the password that could be changed."""
        check("UpdateExport", MEMBERS["UpdateExport"], {"filePassword": file_password})
        return _described(self._find(call, export_id))

    async def delete_export(self, call: Call, *, export_id: str) -> Json:
        """With its archive."""
        place = self._find(call, export_id).spec["Object"]

        def decide(_: Resource | None) -> Delete:
            found = self._find(call, export_id)
            return Delete(key=found.key, version=found.version)

        await change(self._store, key_of(call, EXPORT, export_id), decide)
        await asyncio.to_thread(self._bucket.delete, place)
        return {"exportId": export_id, "exportStatus": "Deleting"}

    async def list_exports(
        self,
        call: Call,
        *,
        bot_id: str | None = None,
        bot_version: str | None = None,
        sort_by: Json | None = None,
        filters: Sequence[Json] | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
        locale_id: str | None = None,
    ) -> Json:
        wanted = present({"botId": bot_id, "botVersion": bot_version, "localeId": locale_id})
        rows = []
        for one in self._store.list(EXPORT, account=call.account, region=call.region):
            specification = one.spec["resourceSpecification"]
            asked = one_of(specification, _KINDS)
            about = specification[asked]
            if all(about.get(name) == value for name, value in wanted.items()):
                row = Row(
                    name=one.key.name,
                    summary=_described(one),
                    updated_at=one.updated_at,
                    fields={"ExportResourceType": _KINDS[asked]},
                )
                rows.append(row)
        found = listed(
            call,
            rows,
            Asked(
                of=path(*(str(one) for one in (bot_id, bot_version, locale_id))),
                sort_by=sort_by,
                filters=filters,
                max_results=max_results,
                next_token=next_token,
            ),
            by="LastUpdatedDateTime",
        )
        return answer(found, "exportSummaries", **wanted)

    def _collect(self, call: Call, asked: Json) -> tuple[Json, _Locales]:
        """The bot as the version has it, and the locales that are asked for."""
        bot_id, version = asked["botId"], asked["botVersion"]
        bot = find_bot(self._store, call, bot_id)
        about = {**bot.spec, "version": version}
        if version == DRAFT:
            found = self._store.list(
                LOCALE, account=call.account, region=call.region, prefix=path(bot_id, "")
            )
            ids = [one.spec["localeId"] for one in found]
        else:
            frozen = find_version(self._store, call, bot_id, version)
            about = {"botId": bot_id, **frozen.spec["bot"], "version": version}
            about |= present({"description": frozen.spec.get("description")})
            ids = list(frozen.spec["locales"])
        if "localeId" in asked:
            ids = [asked["localeId"]]
        locales = []
        for locale_id in ids:
            place = Place(bot_id=bot_id, bot_version=version, locale_id=locale_id)
            locale = find_locale(self._store, call, place)
            if version == DRAFT:
                definition = compiled(self._store, call, place)
            else:
                frozen = find_version(self._store, call, bot_id, version)
                definition = frozen.spec["locales"][locale_id]["definition"]
            members = {**locale.members, "localeName": LOCALE_NAMES[locale_id]}
            locales.append((members, definition))
        return about, locales

    def _find(self, call: Call, export_id: str) -> Resource:
        found = self._store.get(key_of(call, EXPORT, export_id))
        if found is None:
            raise absent(call, f"the export {export_id}")
        return found


def one_of(specification: Mapping[str, object], kinds: Mapping[str, str]) -> str:
    """The one member that is given. Raises ``ValidationError`` and ``Unsupported``."""
    given = list(present(specification))
    if len(given) != 1:
        raise ValidationError("resourceSpecification needs one specification, and no more.")
    if given[0] not in kinds:
        raise Unsupported(f"Modelyard does not execute {given[0]} yet.")
    return given[0]


def _described(export: Resource) -> Json:
    return {
        "exportId": export.key.name,
        "resourceSpecification": export.spec["resourceSpecification"],
        "fileFormat": export.spec["fileFormat"],
        "exportStatus": "Completed",
        "creationDateTime": export.created_at,
        "lastUpdatedDateTime": export.updated_at,
    }
