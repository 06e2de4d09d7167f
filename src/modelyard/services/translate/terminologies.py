"""Custom terminologies: import, get, list, delete. Their files are objects of a bucket of the platform's own."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.listing import Entry, Query, page
from modelyard.services.changes import change
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, only, present
from modelyard.services.own_bucket import OwnBucket, Shelf
from modelyard.services.translate.terms import UNI, Table, TermsError, read, write
from modelyard.store.resources import (
    AlreadyExists,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
    VersionConflict,
)

KIND = "translate-terminology"
BUCKET = "modelyard-translate-terminology"
FILE_BYTES = 10 * 1024 * 1024
TERMINOLOGIES_MAX = 100
"""Of one account and region."""
LANGUAGES_MAX = 100
KEPT = 16
"""Files that are kept read."""
RESULTS_DEFAULT = 100
MEMBERS: Mapping[str, Members] = {
    "ImportTerminology": {
        "Name": EXECUTED,
        "MergeStrategy": only("OVERWRITE"),
        "Description": EXECUTED,
        "TerminologyData": {"File": EXECUTED, "Format": EXECUTED, "Directionality": EXECUTED},
        "EncryptionKey": REFUSED,
        "Tags": RECORDED,
    },
    "GetTerminology": {"Name": EXECUTED, "TerminologyDataFormat": EXECUTED},
    "ListTerminologies": {"NextToken": EXECUTED, "MaxResults": EXECUTED},
    "DeleteTerminology": {"Name": EXECUTED},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminology:
    """One to be applied."""

    name: str
    table: Table
    directionality: str


class Terminologies:
    """``locate`` makes an address of an object from which anybody who has it can fetch it for a while."""

    def __init__(
        self, *, store: ResourceStore, shelf: Shelf, locate: Callable[[str, str], str]
    ) -> None:
        self._store = store
        self._bucket = OwnBucket(shelf, BUCKET)
        self._locate = locate
        self._read: OrderedDict[str, Table] = OrderedDict()

    async def import_terminology(
        self,
        call: Call,
        *,
        name: str,
        merge_strategy: str,
        terminology_data: Json,
        description: str | None = None,
        encryption_key: Json | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = {
            "Name": name,
            "MergeStrategy": merge_strategy,
            "TerminologyData": present(terminology_data),
            "Description": description,
            "EncryptionKey": encryption_key,
            "Tags": tags,
        }
        check("ImportTerminology", MEMBERS["ImportTerminology"], given)
        data, form = bytes(terminology_data["File"]), terminology_data["Format"]
        directionality = terminology_data.get("Directionality") or UNI
        table = await asyncio.to_thread(_checked, data, form)
        key = _key(call, name)
        self._check_room(call, key)
        digest = hashlib.sha256(data).hexdigest()
        # Of this import alone: who replaces or deletes another one at this moment takes that one's file.
        own = f"{name}/{digest}-{call.request_id}/{form}/{name}.{form.lower()}"
        place = f"{call.account}/{call.region}/{own}"
        await asyncio.to_thread(self._bucket.put, place, data)
        spec = {
            "Description": description,
            "Format": form,
            "Directionality": directionality,
            "Tags": list(tags or []),
            "Languages": list(table.languages),
            "SizeBytes": len(data),
            "TermCount": len(table.rows),
            "SkippedTermCount": table.skipped,
            "Object": place,
        }
        written = await self._write(key, spec)
        return {"TerminologyProperties": _properties(written)}

    def _check_room(self, call: Call, key: Key) -> None:
        known = self._store.list(KIND, account=call.account, region=call.region)
        if len(known) >= TERMINOLOGIES_MAX and self._store.get(key) is None:
            raise ServiceError(
                "LimitExceededException",
                f"There are {TERMINOLOGIES_MAX} terminologies already; delete one.",
            )

    async def _write(self, key: Key, spec: Json) -> Resource:
        """Create or replace. The file before it goes."""
        while True:
            old = self._store.get(key)
            try:
                if old is None:
                    (written,) = await self._store.write(Create(key=key, spec=spec))
                else:
                    (written,) = await self._store.write(
                        Update(key=key, version=old.version, spec=spec)
                    )
            except (AlreadyExists, VersionConflict):
                continue
            if old is not None and old.spec["Object"] != spec["Object"]:
                await self._delete_files(old)
            return written

    async def _delete_files(self, resource: Resource) -> None:
        """What was imported, and the other forms in which it was asked for."""
        folder, _, _ = resource.spec["Object"].rsplit("/", 2)
        for form in ("CSV", "TMX", "TSV"):
            place = f"{folder}/{form}/{resource.key.name}.{form.lower()}"
            await asyncio.to_thread(self._bucket.delete, place)

    async def get_terminology(
        self, call: Call, *, name: str, terminology_data_format: str | None = None
    ) -> Json:
        found = self._find(call, name)
        spec = found.spec
        form = terminology_data_format or spec["Format"]
        place = spec["Object"]
        if form != spec["Format"]:
            if spec["Directionality"] != UNI:
                raise invalid_parameter(
                    f"A terminology of several directions is given as it was imported: {spec['Format']}."
                )
            place = f"{place.rsplit('/', 2)[0]}/{form}/{name}.{form.lower()}"
            table = await self._table(spec)
            await asyncio.to_thread(lambda: self._bucket.put(place, write(table, form)))
        return {
            "TerminologyProperties": _properties(found),
            "TerminologyDataLocation": {
                "RepositoryType": "S3",
                "Location": self._locate(BUCKET, place),
            },
        }

    async def list_terminologies(
        self, call: Call, *, next_token: str | None = None, max_results: int | None = None
    ) -> Json:
        known = {
            one.key.name: one
            for one in self._store.list(KIND, account=call.account, region=call.region)
        }
        query = Query(
            scope=f"{call.action}/{call.account}/{call.region}",
            sort_by="Name",
            max_results=max_results or RESULTS_DEFAULT,
            next_token=next_token,
            refusal=invalid_parameter,
        )
        found = page((Entry(name=name) for name in known), query)
        shown = [_properties(known[name]) for name in found.names]
        return present({"TerminologyPropertiesList": shown, "NextToken": found.next_token})

    async def delete_terminology(self, call: Call, *, name: str) -> Json:
        def decide(resource: Resource | None) -> Delete:
            found = resource if resource is not None else self._find(call, name)
            return Delete(key=found.key, version=found.version)

        await self._delete_files(await change(self._store, _key(call, name), decide))
        return {}

    async def named(self, call: Call, names: Sequence[str]) -> list[Terminology]:
        """Those to be applied. Raises ``ResourceNotFoundException``."""
        found = []
        for name in names:
            spec = self._find(call, name).spec
            table = await self._table(spec)
            found.append(Terminology(name=name, table=table, directionality=spec["Directionality"]))
        return found

    async def _table(self, spec: Json) -> Table:
        place = spec["Object"]
        table = self._read.get(place)
        if table is None:
            table = await asyncio.to_thread(self._load, place, spec["Format"])
            self._read[place] = table
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(place)
        return table

    def _load(self, place: str, form: str) -> Table:
        data = self._bucket.get(place, limit=FILE_BYTES)
        if data is None:
            raise ServiceError(
                "InternalServerException",
                "The file of the terminology is gone; import it again.",
                status=500,
            )
        return read(data, form)

    def _find(self, call: Call, name: str) -> Resource:
        found = self._store.get(_key(call, name))
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Could not find the specified terminology: {name}.",
                status=404,
            )
        return found


def _checked(data: bytes, form: str) -> Table:
    """Raises ``InvalidParameterValueException`` and ``LimitExceededException``."""
    if len(data) > FILE_BYTES:
        raise ServiceError("LimitExceededException", f"The file is larger than {FILE_BYTES} bytes.")
    try:
        table = read(data, form)
    except TermsError as error:
        raise invalid_parameter(f"The terminology file is not valid. {error}") from None
    if len(table.languages) > LANGUAGES_MAX:
        raise ServiceError(
            "LimitExceededException", f"The file names more than {LANGUAGES_MAX} languages."
        )
    unknown = [code for code in table.languages if not _is_code(code)]
    if unknown:
        raise invalid_parameter(
            f"The file names languages that there are not: {', '.join(unknown[:5])}."
        )
    return table


def _is_code(code: str) -> bool:
    return 2 <= len(code) <= 5 and code.replace("-", "").isalpha() and code.isascii()


def invalid_parameter(message: str) -> ServiceError:
    """As Translate calls a value that it does not understand."""
    return ServiceError("InvalidParameterValueException", message)


def _key(call: Call, name: str) -> Key:
    return Key(kind=KIND, account=call.account, region=call.region, name=name)


def _properties(resource: Resource) -> Json:
    spec, key = resource.spec, resource.key
    arn = Arn(
        service="translate",
        region=key.region,
        account=key.account,
        resource=f"terminology/{key.name}/LATEST",
    )
    source, *targets = spec["Languages"]
    return present(
        {
            "Name": key.name,
            "Description": spec["Description"],
            "Arn": str(arn),
            "SourceLanguageCode": source,
            "TargetLanguageCodes": targets,
            "SizeBytes": spec["SizeBytes"],
            "TermCount": spec["TermCount"],
            "CreatedAt": resource.created_at,
            "LastUpdatedAt": resource.updated_at,
            "Directionality": spec["Directionality"],
            "SkippedTermCount": spec["SkippedTermCount"],
            "Format": spec["Format"],
        }
    )
