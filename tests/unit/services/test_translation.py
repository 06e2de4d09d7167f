"""TranslateText and the terminologies, with a model that shouts."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.catalogue import NotServed
from modelyard.ai.questions import Finding, Item
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.services.metering import Metering
from modelyard.services.translate.documents import Documents
from modelyard.services.translate.terminologies import BUCKET, Terminologies
from modelyard.services.translate.translation import Translation
from modelyard.services.translate.translator import Translator
from modelyard.store.objects import ObjectStore
from modelyard.store.usage import Usage
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

PAIRS = ["en-es", "es-pt-PT"]
CSV = b"en,es\na,b\n"
NUMBERS = itertools.count()


class Models:
    """Translates into capitals; finds the languages that it was told."""

    def __init__(self) -> None:
        self.found: list[tuple[str, float]] = [("en", 0.9)]
        self.error = ""
        self.asked: list[Item] = []

    async def ask(
        self, call: Call, service: str, task: str, language: str, items: Sequence[Item],
        options: Mapping[str, Any] | None = None,
    ) -> list[Finding]:  # fmt: skip
        if service == "comprehend":
            return [Finding(result={"languages": self.found}) for _ in items]
        self.asked += items
        if self.error:
            return [Finding(error=self.error) for _ in items]
        return [
            Finding(
                result={
                    "parts": [
                        [number, "".join(r.upper() if isinstance(r, str) else r["fixed"] for r in runs)]
                        for number, runs in enumerate(item["pieces"])
                    ]
                }
            )
            for item in items
        ]  # fmt: skip

    def find(self, service: str, task: str, language: str) -> None:
        if language not in PAIRS:
            raise NotServed(PAIRS)

    def languages(self, service: str, task: str) -> list[str]:
        return PAIRS

    def is_ready(self, service: str, task: str, language: str) -> bool:
        return True


class Recorded:
    def __init__(self) -> None:
        self.used: list[Usage] = []

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        self.used.append(usage)


class World:
    def __init__(self, folder: Path) -> None:
        clock = ManualClock()
        self.models, self.recorded = Models(), Recorded()
        self.objects = ObjectStore(folder, clock=clock)
        self.terminologies = Terminologies(
            store=MemoryResourceStore(clock=clock),
            shelf=self.objects,
            locate=lambda bucket, key: f"{bucket}/{key}",
        )
        translator = Translator(
            models=self.models,  # type: ignore[arg-type]
            terminologies=self.terminologies,
        )
        metering = Metering(usage=self.recorded, clock=clock)
        self.translation = Translation(translator=translator, metering=metering)
        self.documents = Documents(translator=translator, metering=metering)

    async def text(self, text: str, source: str = "en", target: str = "es", **more: Any) -> Any:
        return await self.translation.translate_text(
            call("TranslateText"),
            text=text,
            source_language_code=source,
            target_language_code=target,
            **more,
        )

    async def document(
        self, data: bytes, form: str = "text/html", source: str = "en", **more: Any
    ) -> Any:
        return await self.documents.translate_document(
            call("TranslateDocument"),
            document={"Content": data, "ContentType": form},
            source_language_code=source,
            target_language_code=more.pop("target", "es"),
            **more,
        )

    async def import_(self, name: str, data: bytes, form: str = "CSV", **more: Any) -> Any:
        given = {"File": data, "Format": form, **more}
        answer = await self.terminologies.import_terminology(
            call("ImportTerminology"),
            name=name,
            merge_strategy="OVERWRITE",
            terminology_data=given,
        )
        return answer["TerminologyProperties"]

    def objects_count(self) -> int:
        return len(self.objects.page(BUCKET, "", after=""))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "objects")


def call(operation: str) -> Call:
    principal = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1")
    return Call(
        principal=principal, account="1", region="r", action=f"translate:{operation}",
        request_id=f"q{next(NUMBERS)}", deadline=60.0,
    )  # fmt: skip


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_a_text_is_translated_and_each_character_is_metered(world: World) -> None:
    assert run(world.text("the 😀 house")) == {
        "TranslatedText": "THE 😀 HOUSE", "SourceLanguageCode": "en", "TargetLanguageCode": "es",
    }  # fmt: skip
    (used,) = world.recorded.used
    assert (used.usage_type, used.quantity, used.unit) == ("TranslateText", 11, "Character")


def test_auto_is_the_language_that_is_found(world: World) -> None:
    assert run(world.text("x", source="auto"))["SourceLanguageCode"] == "en"
    for found in ([("en", 0.3)], []):
        world.models.found = found
        with pytest.raises(ServiceError) as caught:
            run(world.text("x", source="auto"))
        assert caught.value.code == "DetectedLanguageLowConfidenceException"


@pytest.mark.parametrize(("source", "target"), [("en", "en"), ("es", "en"), ("xx", "es")])
def test_a_pair_without_a_model_is_refused(world: World, source: str, target: str) -> None:
    with pytest.raises(ServiceError) as caught:
        run(world.text("x", source=source, target=target))
    assert caught.value.code == "UnsupportedLanguagePairException"
    assert caught.value.members == {"SourceLanguageCode": source, "TargetLanguageCode": target}
    assert world.recorded.used == []


@pytest.mark.parametrize(
    ("text", "code"),
    [("é" * 5_001, "TextSizeLimitExceededException"), ("\ud800", "InvalidRequestException")],
)
def test_what_is_too_long_or_no_text_is_refused(world: World, text: str, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        run(world.text(text))
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["Formality", "Profanity", "Brevity"])
def test_settings_that_no_engine_has_are_refused(world: World, name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        run(world.text("x", settings={name: "ON"}))


def test_what_the_engine_cannot_translate_is_an_error_and_not_metered(world: World) -> None:
    world.models.error = "nothing"
    with pytest.raises(ServiceError, match="nothing"):
        run(world.text("x"))
    assert world.recorded.used == []


def test_terms_stand_as_the_user_wants_them_and_are_named(world: World) -> None:
    run(world.import_("brand", b"en,es\nAmazon Photos,Fotos\nAmazon,El Amazonas\nnever,nunca\n"))
    answer = run(world.text("the Amazon Photos of Amazon", terminology_names=["brand"]))
    assert answer["TranslatedText"] == "THE Fotos OF El Amazonas"
    (applied,) = answer["AppliedTerminologies"]
    assert applied["Name"] == "brand"
    assert [one["SourceText"] for one in applied["Terms"]] == ["Amazon Photos", "Amazon"]
    for names, code in (
        (["none"], "ResourceNotFoundException"),
        (["brand", "brand"], "InvalidRequestException"),
    ):
        with pytest.raises(ServiceError) as caught:
            run(world.text("x", terminology_names=names))
        assert caught.value.code == code


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_terminology_that_is_imported_while_its_like_goes_keeps_its_file(
    world: World, is_deleted: bool
) -> None:
    async def scenario() -> None:
        await world.import_("brand", CSV)
        loop, delete = asyncio.get_running_loop(), world.objects.delete_object

        def overtaken(bucket: str, key: str) -> bool:
            world.objects.delete_object = delete  # type: ignore[method-assign]
            again = asyncio.run_coroutine_threadsafe(world.import_("brand", CSV), loop)
            again.result(timeout=20)
            return delete(bucket, key)

        world.objects.delete_object = overtaken  # type: ignore[method-assign,assignment]
        if is_deleted:
            await world.terminologies.delete_terminology(call("DeleteTerminology"), name="brand")
        else:
            await world.import_("brand", b"en,es\na,c\n")
        world.terminologies._read.clear()
        assert (await world.text("a", terminology_names=["brand"]))["TranslatedText"] == "b"

    run(scenario())
    assert world.objects_count() == 1


def test_a_terminology_is_replaced_and_deleted_with_its_files(world: World) -> None:
    first = run(world.import_("brand", b"en,es\na,b\n"))
    second = run(world.import_("brand", b"en,es,fr\na,c,d\n", Directionality="MULTI"))
    assert first["TargetLanguageCodes"] == ["es"] and second["TargetLanguageCodes"] == ["es", "fr"]
    assert world.objects_count() == 1
    assert run(world.text("a", terminology_names=["brand"]))["TranslatedText"] == "c"
    run(world.import_("brand", b"en,es\na,e\n"))
    got = run(
        world.terminologies.get_terminology(
            call("GetTerminology"), name="brand", terminology_data_format="TMX"
        )
    )
    assert got["TerminologyDataLocation"]["Location"].endswith("/TMX/brand.tmx")
    run(world.import_("brand", b"en,es\na,f\n"))
    assert world.objects_count() == 1, "in whichever form it was asked for"
    listed = run(world.terminologies.list_terminologies(call("ListTerminologies")))
    assert [one["Name"] for one in listed["TerminologyPropertiesList"]] == ["brand"]
    run(world.terminologies.delete_terminology(call("DeleteTerminology"), name="brand"))
    assert world.objects_count() == 0
    with pytest.raises(ServiceError) as caught:
        run(world.terminologies.delete_terminology(call("DeleteTerminology"), name="brand"))
    assert caught.value.code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"en,es\n", "InvalidParameterValueException"),
        (b"en,nonsense\na,b\n", "InvalidParameterValueException"),
        (b"en," + b"es" * 6_000_000, "LimitExceededException"),
    ],
)
def test_a_bad_terminology_leaves_nothing(world: World, data: bytes, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        run(world.import_("bad", data))
    assert caught.value.code == code
    listed = run(world.terminologies.list_terminologies(call("ListTerminologies")))
    assert listed["TerminologyPropertiesList"] == []


def test_languages_are_those_that_are_served_in_the_language_that_is_asked_for(
    world: World,
) -> None:
    def listed(**given: Any) -> Any:
        return run(world.translation.list_languages(call("ListLanguages"), **given))

    codes = [one["LanguageCode"] for one in listed()["Languages"]]
    assert codes == ["auto", "en", "es", "pt-PT"]
    german = listed(display_language_code="de", max_results=2)
    assert [one["LanguageName"] for one in german["Languages"]] == ["Automatisch", "Englisch"]
    rest = listed(display_language_code="de", next_token=german["NextToken"])
    assert [one["LanguageCode"] for one in rest["Languages"]] == ["es", "pt-PT"]
    with pytest.raises(ServiceError, match=r"^InvalidParameterValueException: .*token"):
        listed(next_token=german["NextToken"])


def test_a_document_is_translated_with_its_terms_and_metered_by_its_text(world: World) -> None:
    run(world.import_("brand", b"en,es\nAcme,Acma\n"))
    html = b"<p class=x>the <b>Acme</b> house<!-- note --></p>"
    answer = run(world.document(html, source="auto", terminology_names=["brand"]))
    assert answer["TranslatedDocument"] == {
        "Content": b"<p class=x>THE <b>Acma</b> HOUSE<!-- note --></p>"
    }
    assert answer["AppliedTerminologies"][0]["Terms"] == [
        {"SourceText": "Acme", "TargetText": "Acma"}
    ]
    assert (answer["SourceLanguageCode"], answer["TargetLanguageCode"]) == ("en", "es")
    (used,) = world.recorded.used
    assert (used.usage_type, used.quantity, used.unit) == ("TranslateDocument", 14, "Character")


def test_a_long_document_is_several_questions(world: World) -> None:
    sizes: list[int] = []
    ask = world.models.ask

    async def asked(*given: Any) -> Any:
        sizes.append(len(given[4]))
        return await ask(*given)

    world.models.ask = asked  # type: ignore[assignment]
    text = b"word\n\n" * 450 + b"x" * 60_000
    answer = run(world.document(text, "text/plain"))
    assert answer["TranslatedDocument"]["Content"] == text.upper()
    assert sizes == [50] * 9 + [2] * 6


@pytest.mark.parametrize(
    ("data", "given", "code"),
    [
        (b"x" * 102_401, {}, "LimitExceededException"),
        (b" <br> ", {}, "InvalidRequestException"),
        (b"\xff", {"form": "text/plain"}, "InvalidRequestException"),
        (b"x", {"form": "application/pdf"}, "UnsupportedOperation"),
        (b"x", {"settings": {"Formality": "FORMAL"}}, "UnsupportedOperation"),
        (b"x", {"target": "ja"}, "UnsupportedLanguagePairException"),
        (b"x", {"terminology_names": ["none"]}, "ResourceNotFoundException"),
    ],
)
def test_a_document_that_cannot_be_translated_is_refused_and_not_metered(
    world: World, data: bytes, given: Any, code: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        run(world.document(data, **given))
    assert caught.value.code == code
    assert world.recorded.used == []


def test_a_document_whose_language_cannot_be_told_is_refused(world: World) -> None:
    world.models.found = [("en", 0.3)]
    with pytest.raises(ServiceError, match="name the source") as caught:
        run(world.document(b"x", source="auto"))
    assert caught.value.code == "InvalidRequestException"
