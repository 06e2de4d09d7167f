"""Imports: an archive of a bot or of a locale, put where CreateUploadUrl said, becomes resources: all of them or none."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.services.changes import change
from modelyard.services.lex import limits
from modelyard.services.lex.archive import BadArchive, unpack
from modelyard.services.lex.bots import NO_ERROR_LOGS
from modelyard.services.lex.exports import one_of
from modelyard.services.lex.importing import Importing
from modelyard.services.lex.kinds import IMPORT, path
from modelyard.services.lex.lexjson import BotFiles, read
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.locales import SPEECH
from modelyard.services.lex.parts import absent, conflict, find_bot, key_of, new_id, quota
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, only, present
from modelyard.services.own_bucket import OwnBucket
from modelyard.store.resources import (
    AlreadyExists,
    Create,
    Delete,
    Json,
    Resource,
    ResourceStore,
    Update,
    VersionConflict,
)

MEMBERS: Mapping[str, Members] = {
    "StartImport": {
        "importId": EXECUTED,
        "resourceSpecification": {
            "botImportSpecification": {
                "botName": EXECUTED,
                "roleArn": RECORDED,
                "dataPrivacy": RECORDED,
                "errorLogSettings": NO_ERROR_LOGS,
                "idleSessionTTLInSeconds": EXECUTED,
                "botTags": EXECUTED,
                "testBotAliasTags": EXECUTED,
            },
            "botLocaleImportSpecification": {
                "botId": EXECUTED,
                "botVersion": EXECUTED,
                "localeId": EXECUTED,
                "nluIntentConfidenceThreshold": EXECUTED,
                **SPEECH,
            },
            "customVocabularyImportSpecification": REFUSED,
            "testSetImportResourceSpecification": REFUSED,
        },
        "mergeStrategy": only("Overwrite", "FailOnConflict"),
        "filePassword": REFUSED,
    },
}
_KINDS = {"botImportSpecification": "Bot", "botLocaleImportSpecification": "BotLocale"}
_WAITING = "Waiting"
"""For StartImport; not one of AWS's, and never shown."""
_ATTEMPTS = 20


class Imports:
    """``locate`` makes an address to which anybody who has it can put an object for a while."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        random: RandomSource,
        bucket: OwnBucket,
        locate: Callable[[str, str], str],
        importing: Importing,
    ) -> None:
        self._store = store
        self._random = random
        self._bucket = bucket
        self._locate = locate
        self._importing = importing

    async def create_upload_url(self, call: Call) -> Json:
        """Of those that nothing came of, the oldest go."""
        waiting = [one for one in self._known(call) if one.status["importStatus"] == _WAITING]
        waiting.sort(key=lambda one: one.created_at)
        for one in waiting[: max(0, len(waiting) - limits.UPLOADS + 1)]:
            await self._forget(call, one.key.name)
        import_id = new_id(self._random)
        create = Create(
            key=key_of(call, IMPORT, import_id), spec={}, status={"importStatus": _WAITING}
        )
        await self._store.write(create)
        await asyncio.to_thread(self._bucket.prepare)
        url = self._locate(self._bucket.name, _place(call, import_id))
        return {"importId": import_id, "uploadUrl": url}

    async def start_import(
        self,
        call: Call,
        *,
        import_id: str,
        resource_specification: Json,
        merge_strategy: str,
        file_password: str | None = None,
    ) -> Json:
        """It is over when this returns: what is wrong with the archive is a failed import, not an error."""
        specification = {
            name: present(value) for name, value in present(resource_specification).items()
        }
        given = {
            "resourceSpecification": specification,
            "mergeStrategy": merge_strategy,
            "filePassword": file_password,
        }
        check("StartImport", MEMBERS["StartImport"], given)
        asked = one_of(specification, _KINDS)
        if _KINDS[asked] == "BotLocale":
            find_bot(self._store, call, specification[asked]["botId"])
        started = self._find(call, import_id, waiting=True)
        done = [one for one in self._known(call) if one.status["importStatus"] != _WAITING]
        if len(done) >= limits.IMPORTS:
            raise quota(limits.IMPORTS, "imports; delete those that are over")
        place = _place(call, import_id)
        data = await asyncio.to_thread(self._bucket.get, place, limit=limits.ARCHIVE_BYTES)
        if data is None:
            raise ValidationError(
                f"Nothing was put to the uploadUrl of the import {import_id} yet."
            )
        spec = {"resourceSpecification": specification, "mergeStrategy": merge_strategy}
        try:
            files = await asyncio.to_thread(lambda: read(unpack(data)))
            await self._apply(call, started, spec, files)
        except (BadArchive, ServiceError) as error:
            if isinstance(error, ServiceError) and error.fault == "server" and error.status != 501:
                raise
            said = error.message if isinstance(error, ServiceError) else str(error)
            status = {"importStatus": "Failed", "failureReasons": [said]}
            await self._end(call, import_id, spec, status)
        await asyncio.to_thread(self._bucket.delete, place)
        return {
            "importId": import_id,
            **spec,
            "importStatus": "InProgress",
            "creationDateTime": started.created_at,
        }

    async def describe_import(self, call: Call, *, import_id: str) -> Json:
        found = self._find(call, import_id)
        return {
            **_described(found),
            "resourceSpecification": found.spec["resourceSpecification"],
            "failureReasons": found.status.get("failureReasons", []),
        }

    async def delete_import(self, call: Call, *, import_id: str) -> Json:
        """What was imported stays."""
        if self._store.get(key_of(call, IMPORT, import_id)) is None:
            raise absent(call, f"the import {import_id}")
        await self._forget(call, import_id)
        return {"importId": import_id, "importStatus": "Deleting"}

    async def list_imports(
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
        for one in self._known(call):
            if one.status["importStatus"] == _WAITING:
                continue
            asked = one_of(one.spec["resourceSpecification"], _KINDS)
            about = {**_imported(one), **one.spec["resourceSpecification"][asked]}
            if all(about.get(name) == value for name, value in wanted.items()):
                kind = _KINDS[asked]
                row = Row(
                    name=one.key.name,
                    summary={**_described(one), "importedResourceType": kind},
                    updated_at=one.updated_at,
                    fields={"ImportResourceType": kind},
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
        return answer(found, "importSummaries", **wanted)

    async def _apply(self, call: Call, started: Resource, spec: Json, files: BotFiles) -> None:
        """Decide on what there is, and write it with the end of the import; once more if somebody else was faster."""
        asked = one_of(spec["resourceSpecification"], _KINDS)
        decide = self._importing.bot if _KINDS[asked] == "Bot" else self._importing.locale
        overwrite = spec["mergeStrategy"] == "Overwrite"
        for _ in range(_ATTEMPTS):
            imported = decide(
                call, spec["resourceSpecification"][asked], files, overwrite=overwrite
            )
            end = Update(
                key=started.key,
                version=started.version,
                spec=spec,
                status={
                    "importStatus": "Completed",
                    "importedResourceId": imported.resource_id,
                    "importedResourceName": imported.name,
                },
            )
            try:
                await self._store.write(*imported.changes, end)
            except (AlreadyExists, VersionConflict):
                started = self._find(call, started.key.name, waiting=True)
                continue
            return
        raise conflict("Others keep changing what is imported to: import it again.")

    async def _end(self, call: Call, import_id: str, spec: Json, status: Json) -> None:
        def decide(_: Resource | None) -> Update:
            found = self._find(call, import_id, waiting=True)
            return Update(key=found.key, version=found.version, spec=spec, status=status)

        await change(self._store, key_of(call, IMPORT, import_id), decide)

    async def _forget(self, call: Call, import_id: str) -> None:
        key = key_of(call, IMPORT, import_id)
        try:
            await self._store.write(Delete(key=key))
        except VersionConflict:
            return  # Somebody else has done it.
        await asyncio.to_thread(self._bucket.delete, _place(call, import_id))

    def _known(self, call: Call) -> Sequence[Resource]:
        return self._store.list(IMPORT, account=call.account, region=call.region)

    def _find(self, call: Call, import_id: str, *, waiting: bool = False) -> Resource:
        """One that was started, or one that waits for it."""
        found = self._store.get(key_of(call, IMPORT, import_id))
        if found is None or (not waiting and found.status["importStatus"] == _WAITING):
            raise absent(call, f"the import {import_id}")
        if waiting and found.status["importStatus"] != _WAITING:
            raise conflict(f"The import {import_id} was started already.")
        return found


def _place(call: Call, import_id: str) -> str:
    return f"{call.account}/{call.region}/imports/{import_id}.zip"


def _imported(resource: Resource) -> Json:
    """What it became, by the names that lists are filtered by."""
    named = resource.status.get("importedResourceId")
    is_bot = "botImportSpecification" in resource.spec["resourceSpecification"]
    return {"botId": named, "botVersion": "DRAFT"} if is_bot and named else {}


def _described(resource: Resource) -> dict[str, Any]:
    return present(
        {
            "importId": resource.key.name,
            "importedResourceId": resource.status.get("importedResourceId"),
            "importedResourceName": resource.status.get("importedResourceName"),
            "mergeStrategy": resource.spec["mergeStrategy"],
            "importStatus": resource.status["importStatus"],
            "creationDateTime": resource.created_at,
            "lastUpdatedDateTime": resource.updated_at,
        }
    )
