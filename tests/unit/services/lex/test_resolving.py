"""Which bot and model answer for an alias."""

from typing import Any

import pytest

from modelyard.base.errors import ServiceError
from modelyard.services.lex.kinds import ALIAS, BUILD, VERSION
from modelyard.services.lex.resolving import Resolver, resolve
from modelyard.store.resources import Create, Delete, Key, Update
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ACCOUNT, REGION, BOT = "123456789012", "us-east-1", "BOT0000001"
DRAFT_BUILD = {
    "Status": "Building",
    "Model": "lex-2",
    "definition": {"botVersion": "DRAFT", "intents": []},
}
HOOK = {"enabled": True, "codeHookSpecification": {"lambdaCodeHook": {"lambdaARN": "http://x"}}}

pytestmark = pytest.mark.anyio


async def _store() -> MemoryResourceStore:
    store = MemoryResourceStore(clock=ManualClock())

    def create(kind: str, name: str, spec: Any, status: Any = None) -> Create:
        key = Key(kind=kind, account=ACCOUNT, region=REGION, name=f"{BOT}/{name}")
        return Create(key=key, spec=spec, status=status or {})

    def alias(version: str | None, **settings: Any) -> dict[str, Any]:
        return {"botAliasName": "A", "botVersion": version, "botAliasLocaleSettings": settings}

    await store.write(
        create(ALIAS, "TSTALIASID", alias("DRAFT")),
        create(ALIAS, "LIVEALIAS1", alias("1", en_US=HOOK, en_GB={"enabled": False})),
        create(ALIAS, "NOVERSION1", alias(None)),
        create(BUILD, "en_US", {"definition": {}, "number": 3}, DRAFT_BUILD),
        create(BUILD, "en_GB", {"definition": {}, "number": 1}, {"Status": "Building"}),
        create(
            VERSION, "1", {"locales": {"en_US": {"definition": {"botVersion": "1", "intents": []}, "Model": "lex-1"}}}
        ),
    )  # fmt: skip
    return store


async def test_the_test_alias_answers_with_what_was_last_built_of_the_draft() -> None:
    found = resolve(await _store(), ACCOUNT, REGION, BOT, "TSTALIASID", "en_US")

    assert (found.model, found.bot.version) == ("lex-2", "DRAFT")


async def test_an_alias_answers_with_its_version_and_its_settings() -> None:
    found = resolve(await _store(), ACCOUNT, REGION, BOT, "LIVEALIAS1", "en_US")

    assert (found.model, found.bot.version) == ("lex-1", "1")
    assert (found.alias_name, found.settings) == ("A", HOOK)


@pytest.mark.parametrize(
    ("bot", "alias", "locale", "code", "said"),
    [
        (BOT, "NONE000000", "en_US", "ResourceNotFoundException", "does not exist"),
        ("BOT0000002", "TSTALIASID", "en_US", "ResourceNotFoundException", "does not exist"),
        (BOT, "LIVEALIAS1", "en_AU", "ResourceNotFoundException", "no locale en_AU"),
        (BOT, "LIVEALIAS1", "en_GB", "ValidationException", "not enabled"),
        (BOT, "NOVERSION1", "en_US", "ValidationException", "not associated"),
        (BOT, "TSTALIASID", "en_GB", "ValidationException", "has not been built"),
    ],
)
async def test_what_cannot_answer_says_why(
    bot: str, alias: str, locale: str, code: str, said: str
) -> None:
    with pytest.raises(ServiceError, match=said) as refused:
        resolve(await _store(), ACCOUNT, REGION, bot, alias, locale)

    assert refused.value.code == code


async def test_what_is_remembered_is_forgotten_when_a_bot_changes() -> None:
    store = await _store()
    resolver = Resolver(store)
    live = (ACCOUNT, REGION, BOT, "LIVEALIAS1", "en_US")
    assert resolver.resolve(*live) is resolver.resolve(*live)

    key = Key(kind=ALIAS, account=ACCOUNT, region=REGION, name=f"{BOT}/LIVEALIAS1")
    alias = store.get(key)
    assert alias is not None
    spec = {**alias.spec, "botVersion": "DRAFT"}
    await store.write(Update(key=key, version=alias.version, spec=spec))
    assert resolver.resolve(*live).model == "lex-2"

    await store.write(Delete(key=key))
    with pytest.raises(ServiceError):
        resolver.resolve(*live)
