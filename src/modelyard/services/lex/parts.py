"""The parts of a bot as they lie in the store: the draft's as resources of their own, a version's as they were frozen.

Whoever changes a part of a locale writes the locale with it, on condition that nobody else has: so no two parts of a name are
made at once, and none in a locale that is being deleted. The same holds for a bot and its locales, versions and aliases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.lex.definition import compile_definition
from modelyard.services.changes import change
from modelyard.services.lex.kinds import (
    BOT,
    DRAFT,
    INTENT,
    LOCALE,
    SLOT,
    SLOT_TYPE,
    VERSION,
    path,
)
from modelyard.store.resources import Change, Json, Key, Resource, ResourceStore, Update

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
ID_NAMES: Mapping[str, str] = {INTENT: "intentId", SLOT: "slotId", SLOT_TYPE: "slotTypeId"}
NAMES: Mapping[str, str] = {INTENT: "intentName", SLOT: "slotName", SLOT_TYPE: "slotTypeName"}
NOUNS: Mapping[str, str] = {
    BOT: "bot", LOCALE: "locale", INTENT: "intent", SLOT: "slot", SLOT_TYPE: "slot type"
}  # fmt: skip
_FOUND_MISSING = ("Describe", "Tag", "Untag", "ListTags")
_FOUND_MISSING_TOO = ("CreateExport", "UpdateExport", "StartImport")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One locale of one version of a bot."""

    bot_id: str
    bot_version: str
    locale_id: str

    def shown(self) -> Json:
        """As every answer repeats it."""
        return {
            "botId": self.bot_id,
            "botVersion": self.bot_version,
            "localeId": self.locale_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A locale, intent, slot or slot type. ``members`` are AWS's, the id among them."""

    members: Json
    created_at: float
    updated_at: float

    @classmethod
    def of(cls, resource: Resource) -> Self:
        """As the draft has it."""
        return cls(
            members=resource.spec, created_at=resource.created_at, updated_at=resource.updated_at
        )

    def times(self) -> Json:
        """As they are described."""
        return {"creationDateTime": self.created_at, "lastUpdatedDateTime": self.updated_at}

    def described(self, place: Place, *, is_new: bool = False) -> Json:
        """Of an intent, slot or slot type; one that has just been made was never changed."""
        shown = {**self.members, **place.shown(), **self.times()}
        if is_new:
            del shown["lastUpdatedDateTime"]
        return shown


def absent(call: Call, what: str) -> ServiceError:
    """What the operation answers when something that it names is not there: each has but one error for it."""
    operation = call.action.partition(":")[2]
    message = f"Failed to retrieve resource since it does not exist: {what}."
    if operation.startswith(_FOUND_MISSING) or operation in _FOUND_MISSING_TOO:
        return ServiceError("ResourceNotFoundException", message, status=404)
    if operation.startswith("List"):
        return ValidationError(message)
    return ServiceError("PreconditionFailedException", message, status=412)


def conflict(message: str) -> ServiceError:
    """What is there, or under way, does not allow it."""
    return ServiceError("ConflictException", message, status=409)


def taken(kind: str, name: str) -> ServiceError:
    """There is such an intent, slot or slot type already."""
    noun = NOUNS[kind]
    article = "an" if noun[0] in "aeiou" else "a"
    owner = NOUNS[INTENT if kind == SLOT else LOCALE]
    return conflict(f"The {owner} has {article} {noun} with the name {name} already.")


def quota(limit: int, of_what: str) -> ServiceError:
    """There are as many as there may be."""
    return ServiceError(
        "ServiceQuotaExceededException", f"There are {limit} {of_what} already.", status=402
    )


def new_id(random: RandomSource) -> str:
    """Ten upper-case letters and digits."""
    return random.text(10, _ALPHABET)


def key_of(call: Call, kind: str, *ids: str) -> Key:
    """The caller's resource of these ids."""
    return Key(kind=kind, account=call.account, region=call.region, name=path(*ids))


def find_bot(store: ResourceStore, call: Call, bot_id: str) -> Resource:
    """Raises ``absent``."""
    found = store.get(key_of(call, BOT, bot_id))
    if found is None:
        raise absent(call, f"the bot {bot_id}")
    return found


def find_version(store: ResourceStore, call: Call, bot_id: str, version: str) -> Resource:
    """Raises ``absent``."""
    found = store.get(key_of(call, VERSION, bot_id, version))
    if found is None:
        raise absent(call, f"the version {version} of the bot {bot_id}")
    return found


def find_draft(store: ResourceStore, call: Call, place: Place) -> Resource:
    """The locale of the draft. Raises ``absent``."""
    found = store.get(key_of(call, LOCALE, place.bot_id, place.locale_id))
    if found is None:
        raise absent(call, f"the locale {place.locale_id} of the bot {place.bot_id}")
    return found


def find_locale(store: ResourceStore, call: Call, place: Place) -> Part:
    """Of any version. Raises ``absent``."""
    if place.bot_version == DRAFT:
        return Part.of(find_draft(store, call, place))
    return _frozen(_locale_of_version(store, call, place), "", {})


def parts(
    store: ResourceStore, call: Call, place: Place, kind: str, *, intent_id: str = ""
) -> Sequence[Part]:
    """All of a kind: slots of one intent, or of all where none is named. Raises ``absent``."""
    if place.bot_version == DRAFT:
        find_draft(store, call, place)
        ids = [place.bot_id, place.locale_id, *([intent_id] if intent_id else []), ""]
        found = store.list(kind, account=call.account, region=call.region, prefix=path(*ids))
        return [Part.of(one) for one in found]
    locale = _locale_of_version(store, call, place)
    definition = locale["definition"]
    if kind == SLOT_TYPE:
        return [_frozen(locale, one["slotTypeId"], one) for one in definition["slotTypes"]]
    if kind == INTENT:
        return [_frozen(locale, one["intentId"], _bare(one)) for one in definition["intents"]]
    return [
        _frozen(locale, slot["slotId"], {**slot, "intentId": one["intentId"]})
        for one in definition["intents"]
        if intent_id in ("", one["intentId"])
        for slot in one["slots"]
    ]


def find_part(store: ResourceStore, call: Call, place: Place, kind: str, *ids: str) -> Part:
    """The one of these ids; of a slot, its intent's comes first. Raises ``absent``."""
    missing = absent(call, f"the {NOUNS[kind]} {ids[-1]} of the locale {place.locale_id}")
    if place.bot_version == DRAFT:
        find_draft(store, call, place)
        found = store.get(key_of(call, kind, place.bot_id, place.locale_id, *ids))
        if found is None:
            raise missing
        return Part.of(found)
    for one in parts(store, call, place, kind, intent_id=ids[0] if kind == SLOT else ""):
        if one.members[ID_NAMES[kind]] == ids[-1]:
            return one
    raise missing


def find_named(
    store: ResourceStore, call: Call, place: Place, kind: str, name: str, *, intent_id: str = ""
) -> Part | None:
    """The one of the draft that has this name."""
    for one in parts(store, call, place, kind, intent_id=intent_id):
        if one.members[NAMES[kind]] == name:
            return one
    return None


def check_renamed(
    store: ResourceStore, call: Call, place: Place, kind: str, *ids: str, name: str
) -> None:
    """Raises ``taken`` where another than the part of these ids has the name."""
    intent_id = ids[0] if kind == SLOT else ""
    named = find_named(store, call, place, kind, name, intent_id=intent_id)
    if named is not None and named.members[ID_NAMES[kind]] != ids[-1]:
        raise taken(kind, name)


def compiled(store: ResourceStore, call: Call, place: Place) -> Json:
    """The draft's definition as it is now. Raises ``absent``."""
    return compile_definition(
        bot=find_bot(store, call, place.bot_id).spec,
        locale=find_draft(store, call, place).spec,
        intents=[one.members for one in parts(store, call, place, INTENT)],
        slots=[one.members for one in parts(store, call, place, SLOT)],
        slot_types=[one.members for one in parts(store, call, place, SLOT_TYPE)],
    )


def times(store: ResourceStore, call: Call, place: Place) -> dict[str, tuple[float, float]]:
    """When each part of the draft was made and last changed, by id; the locale's own by the empty one."""
    found = {"": Part.of(find_draft(store, call, place))}
    for kind, name in ID_NAMES.items():
        found |= {one.members[name]: one for one in parts(store, call, place, kind)}
    return {name: (one.created_at, one.updated_at) for name, one in found.items()}


async def change_locale(
    store: ResourceStore, call: Call, place: Place, decide: Callable[[], Sequence[Change]]
) -> Resource:
    """Make the changes, the first of which is answered, if the locale is still as it was when they were decided on."""
    key = key_of(call, LOCALE, place.bot_id, place.locale_id)

    def attempt(_: Resource | None) -> tuple[Change, ...]:
        locale = find_draft(store, call, place)
        return *decide(), touch(locale)

    return await change(store, key, attempt)


async def change_bot(
    store: ResourceStore, call: Call, bot_id: str, decide: Callable[[Resource], Sequence[Change]]
) -> Resource:
    """The same for a bot; ``decide`` writes it among its changes, or says ``touch``."""

    def attempt(_: Resource | None) -> tuple[Change, ...]:
        return tuple(decide(find_bot(store, call, bot_id)))

    return await change(store, key_of(call, BOT, bot_id), attempt)


def touch(resource: Resource) -> Update:
    """It was changed, in one of its parts."""
    return Update(key=resource.key, version=resource.version, spec=resource.spec)


def _locale_of_version(store: ResourceStore, call: Call, place: Place) -> Json:
    version = find_version(store, call, place.bot_id, place.bot_version)
    found: Json | None = version.spec["locales"].get(place.locale_id)
    if found is None:
        what = f"the locale {place.locale_id} of the version {place.bot_version}"
        raise absent(call, f"{what} of the bot {place.bot_id}")
    return found


def _frozen(locale: Json, part_id: str, members: Mapping[str, Any]) -> Part:
    created, updated = locale["times"][part_id]
    shown = dict(members) if part_id else locale["locale"]
    return Part(members=shown, created_at=created, updated_at=updated)


def _bare(intent: Mapping[str, Any]) -> Json:
    """Without what compiling adds."""
    added = (
        "slots",
        *(name for name in ("sampleUtterances", "slotPriorities") if not intent[name]),
    )
    return {name: value for name, value in intent.items() if name not in added}
