"""Locales of bots: create, describe, update, delete, list, build."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ValidationError
from modelyard.domain.lex.builtin import FALLBACK
from modelyard.domain.lex.soundness import lost
from modelyard.services.changes import change
from modelyard.services.lex.kinds import (
    BUILD,
    DRAFT,
    FALLBACK_ID,
    FALLBACK_NAME,
    INTENT,
    LOCALE,
    SLOT,
    SLOT_TYPE,
    path,
)
from modelyard.services.lex.limits import LOCALES
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.parts import (
    Part,
    Place,
    change_bot,
    change_locale,
    compiled,
    conflict,
    find_bot,
    find_draft,
    find_locale,
    find_version,
    key_of,
    parts,
    quota,
    times,
    touch,
)
from modelyard.services.members import (
    EXECUTED,
    RECORDED,
    REFUSED,
    Members,
    check,
    only,
    present,
    refused_unless,
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

LOCALE_NAMES = {
    "en_AU": "English (AU)",
    "en_CA": "English (CA)",
    "en_GB": "English (UK)",
    "en_IN": "English (IN)",
    "en_US": "English (US)",
    "en_ZA": "English (ZA)",
}
"""Those whose sentences are understood."""
_NOT_ENABLED = refused_unless(lambda setting: not setting.get("enabled"), "enabled false")
SPEECH: Members = {
    "voiceSettings": RECORDED,
    "unifiedSpeechSettings": REFUSED,
    "audioFillerSettings": _NOT_ENABLED,
    "speechRecognitionSettings": refused_unless(
        lambda setting: setting.get("speechModelPreference", "Standard") == "Standard", "Standard"
    ),
    "speechDetectionSensitivity": only("Default"),
    "speakerDiarizationSettings": _NOT_ENABLED,
}
"""What is said of spoken conversations; there are none yet."""
_CREATED: Members = {
    "botId": EXECUTED,
    "botVersion": EXECUTED,
    "localeId": EXECUTED,
    "description": EXECUTED,
    "nluIntentConfidenceThreshold": EXECUTED,
    **SPEECH,
    "generativeAISettings": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateBotLocale": _CREATED,
    "UpdateBotLocale": _CREATED,
}
_Status = tuple[str, Sequence[str]]
_NOT_BUILT = "NotBuilt"
_SEEN_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What is to be found out of a locale by looking at all that is in it."""

    status: str
    reasons: Sequence[str]
    intents: int
    slot_types: int


class Locales:
    """What a bot is in one language. ``control.bot_builds`` trains what is built here."""

    def __init__(self, *, store: ResourceStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: OrderedDict[Key, tuple[tuple[int, int, int], _State]] = OrderedDict()

    async def create_bot_locale(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        nlu_intent_confidence_threshold: float,
        description: str | None = None,
        voice_settings: Json | None = None,
        unified_speech_settings: Json | None = None,
        audio_filler_settings: Json | None = None,
        speech_recognition_settings: Json | None = None,
        generative_ai_settings: Json | None = None,
        speech_detection_sensitivity: str | None = None,
        speaker_diarization_settings: Json | None = None,
    ) -> Json:
        """With its fallback intent."""
        given = {
            "localeId": locale_id,
            "description": description,
            "nluIntentConfidenceThreshold": nlu_intent_confidence_threshold,
            "voiceSettings": voice_settings,
            "unifiedSpeechSettings": unified_speech_settings,
            "audioFillerSettings": audio_filler_settings,
            "speechRecognitionSettings": speech_recognition_settings,
            "generativeAISettings": generative_ai_settings,
            "speechDetectionSensitivity": speech_detection_sensitivity,
            "speakerDiarizationSettings": speaker_diarization_settings,
        }
        check("CreateBotLocale", MEMBERS["CreateBotLocale"], given)
        check_locale(locale_id)
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)

        def decide(bot: Resource) -> Sequence[Change]:
            prefix = path(bot_id, "")
            known = self._store.list(
                LOCALE, account=call.account, region=call.region, prefix=prefix
            )
            if any(one.spec["localeId"] == locale_id for one in known):
                raise conflict(f"The bot {bot_id} has the locale {locale_id} already.")
            if len(known) >= LOCALES:
                raise quota(LOCALES, f"locales of the bot {bot_id}")
            return (*creation(call, place, present(given)), touch(bot))

        written = await change_bot(self._store, call, bot_id, decide)
        shown = {**place.shown(), **_described(Part.of(written)), "botLocaleStatus": "Creating"}
        shown.pop("lastUpdatedDateTime")
        return shown

    async def describe_bot_locale(
        self, call: Call, *, bot_id: str, bot_version: str, locale_id: str
    ) -> Json:
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        return self._describe(call, place)

    async def update_bot_locale(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        nlu_intent_confidence_threshold: float,
        description: str | None = None,
        voice_settings: Json | None = None,
        unified_speech_settings: Json | None = None,
        audio_filler_settings: Json | None = None,
        speech_recognition_settings: Json | None = None,
        generative_ai_settings: Json | None = None,
        speech_detection_sensitivity: str | None = None,
        speaker_diarization_settings: Json | None = None,
    ) -> Json:
        """Replaces all of it but its intents and slot types."""
        given = {
            "localeId": locale_id,
            "description": description,
            "nluIntentConfidenceThreshold": nlu_intent_confidence_threshold,
            "voiceSettings": voice_settings,
            "unifiedSpeechSettings": unified_speech_settings,
            "audioFillerSettings": audio_filler_settings,
            "speechRecognitionSettings": speech_recognition_settings,
            "generativeAISettings": generative_ai_settings,
            "speechDetectionSensitivity": speech_detection_sensitivity,
            "speakerDiarizationSettings": speaker_diarization_settings,
        }
        check("UpdateBotLocale", MEMBERS["UpdateBotLocale"], given)
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)

        key = key_of(call, LOCALE, bot_id, locale_id)

        def decide(_: Resource | None) -> Update:
            found = find_draft(self._store, call, place)
            return Update(key=key, version=found.version, spec=present(given))

        await change(self._store, key, decide)
        return self._describe(call, place)

    async def delete_bot_locale(
        self, call: Call, *, bot_id: str, bot_version: str, locale_id: str
    ) -> Json:
        """With its intents, slots and slot types. Versions that were made of it stay."""
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)

        def decide(bot: Resource) -> Sequence[Change]:
            return (*deletion(self._store, call, place), touch(bot))

        await change_bot(self._store, call, bot_id, decide)
        return {**place.shown(), "botLocaleStatus": "Deleting"}

    async def list_bot_locales(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version: str,
        sort_by: Json | None = None,
        filters: Sequence[Json] | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        find_bot(self._store, call, bot_id)
        if bot_version == DRAFT:
            prefix = path(bot_id, "")
            drafts = self._store.list(
                LOCALE, account=call.account, region=call.region, prefix=prefix
            )
            ids = [one.spec["localeId"] for one in drafts]
        else:
            ids = list(find_version(self._store, call, bot_id, bot_version).spec["locales"])
        rows = []
        for locale_id in ids:
            place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
            about = self._describe(call, place)
            rows.append(
                Row(
                    name=about["localeName"],
                    summary={name: about[name] for name in _SUMMARY if name in about},
                    fields={"BotLocaleName": about["localeName"]},
                )
            )
        found = listed(
            call,
            rows,
            Asked(
                of=path(bot_id, bot_version),
                sort_by=sort_by,
                filters=filters,
                max_results=max_results,
                next_token=next_token,
            ),
            by="BotLocaleName",
        )
        return answer(found, "botLocaleSummaries", botId=bot_id, botVersion=bot_version)

    async def build_bot_locale(
        self, call: Call, *, bot_id: str, bot_version: str, locale_id: str
    ) -> Json:
        """For the reconciler to train, or to say why it cannot; what leads nowhere fails at once.

        Meanwhile, and after a failure, what was built before goes on answering.
        """
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        key = key_of(call, BUILD, bot_id, locale_id)
        now = self._clock.now()

        def decide() -> Sequence[Change]:
            before = self._store.get(key)
            if before is not None and before.status["Status"] == "Building":
                raise conflict(
                    f"The locale {locale_id} of the bot {bot_id} is being built already."
                )
            definition = compiled(self._store, call, place)
            reasons = list(lost(definition))
            status: Json = (
                {"Status": "Failed", "failureReasons": reasons}
                if reasons
                else {"Status": "Building"}
            )
            spec = {
                "definition": definition,
                "number": before.spec["number"] + 1 if before is not None else 1,
                "times": times(self._store, call, place),
                "submitted": now,
            }
            if before is None:
                return (Create(key=key, spec=spec, status=status),)
            status = {**_working(before), **status}
            return (Update(key=key, version=before.version, spec=spec, status=status),)

        await change_locale(self._store, call, place, decide)
        return {
            **place.shown(),
            "botLocaleStatus": "Building",
            "lastBuildSubmittedDateTime": now,
        }

    def _describe(self, call: Call, place: Place) -> Json:
        part = find_locale(self._store, call, place)
        build = None
        if place.bot_version == DRAFT:
            build = self._store.get(key_of(call, BUILD, place.bot_id, place.locale_id))
            state = self._state(call, place, build)
        else:
            intents, types = (
                len(parts(self._store, call, place, kind)) for kind in (INTENT, SLOT_TYPE)
            )
            state = _State(status="Built", reasons=(), intents=intents, slot_types=types)
        return present(
            {
                **place.shown(),
                **_described(part),
                "intentsCount": state.intents,
                "slotTypesCount": state.slot_types,
                "botLocaleStatus": state.status,
                "failureReasons": list(state.reasons) or None,
                "lastBuildSubmittedDateTime": build.spec["submitted"] if build else None,
            }
        )

    def _state(self, call: Call, place: Place, build: Resource | None) -> _State:
        """Of the draft, as long as nothing of it changed as it was seen before: whoever waits for a build asks often."""
        bot = find_bot(self._store, call, place.bot_id)
        locale = find_draft(self._store, call, place)
        versions = bot.version, locale.version, build.version if build is not None else 0
        seen = self._seen.get(locale.key)
        if seen is not None and seen[0] == versions:
            return seen[1]
        definition = compiled(self._store, call, place)
        status, reasons = build_status(build, definition)
        state = _State(
            status=status,
            reasons=reasons,
            intents=len(definition["intents"]),
            slot_types=len(definition["slotTypes"]),
        )
        self._seen[locale.key] = versions, state
        self._seen.move_to_end(locale.key)
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        return state


_SUMMARY = (
    "localeId",
    "localeName",
    "description",
    "botLocaleStatus",
    "lastUpdatedDateTime",
    "lastBuildSubmittedDateTime",
)


def build_status(build: Resource | None, definition: Json) -> _Status:
    """Of a locale whose definition is now this one, with the reasons of a failure."""
    if build is None:
        return _NOT_BUILT, ()
    status: str = build.status["Status"]
    if status != "Building" and build.spec["definition"] != definition:
        return _NOT_BUILT, ()
    return status, build.status.get("failureReasons", ()) if status == "Failed" else ()


def check_locale(locale_id: str) -> None:
    """Raises ``ValidationError`` for a language that is not understood."""
    if locale_id not in LOCALE_NAMES:
        executed = ", ".join(LOCALE_NAMES)
        raise ValidationError(
            f"Modelyard does not understand the locale {locale_id}; it does {executed}."
        )


def creation(call: Call, place: Place, spec: Json) -> tuple[Change, ...]:
    """A new locale, first, and its fallback intent."""
    fallback = {
        "intentId": FALLBACK_ID,
        "intentName": FALLBACK_NAME,
        "description": "Default intent when no other intent matches",
        "parentIntentSignature": FALLBACK,
    }
    ids = place.bot_id, place.locale_id
    return (
        Create(key=key_of(call, LOCALE, *ids), spec=spec),
        Create(key=key_of(call, INTENT, *ids, FALLBACK_ID), spec=fallback),
    )


def deletion(store: ResourceStore, call: Call, place: Place) -> tuple[Change, ...]:
    """The locale, first, with all that is in it, if none of it changes meanwhile."""
    locale = find_draft(store, call, place)
    prefix = path(place.bot_id, place.locale_id, "")
    found = [
        one
        for kind in (INTENT, SLOT, SLOT_TYPE)
        for one in store.list(kind, account=call.account, region=call.region, prefix=prefix)
    ]
    build = store.get(key_of(call, BUILD, place.bot_id, place.locale_id))
    return (
        Delete(key=locale.key, version=locale.version),
        *(Delete(key=one.key) for one in found),
        *((Delete(key=build.key),) if build is not None else ()),
    )


def _working(build: Resource) -> Json:
    """What answers of the last build that succeeded."""
    return {name: build.status[name] for name in ("Model", "definition") if name in build.status}


def _described(part: Part) -> Json:
    name = LOCALE_NAMES[part.members["localeId"]]
    return {**part.members, "localeName": name, **part.times()}
