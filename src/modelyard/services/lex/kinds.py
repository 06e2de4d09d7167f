"""Kinds of the resources that bots are made of, and how their names are put together.

A name is the path to what it names: ``BOTID``, ``BOTID/en_US``, ``BOTID/en_US/INTENTID``, ``BOTID/en_US/INTENTID/SLOTID``,
``BOTID/3``, ``BOTID/ALIASID``. Whatever has a locale in its name belongs to the draft; a version carries all of its own.
"""

BOT = "lex-bot"
BOT_NAME = "lex-bot-name"
"""Named by the bot's name, so that there is but one bot of it; its spec holds the ``botId``."""
LOCALE = "lex-bot-locale"
INTENT = "lex-intent"
SLOT = "lex-slot"
SLOT_TYPE = "lex-slot-type"
VERSION = "lex-bot-version"
"""Its spec holds ``locales``: by localeId ``definition`` and ``Model``, as they were when it was made; it never changes."""
ALIAS = "lex-bot-alias"
"""``TSTALIASID`` is made with the bot, for the version DRAFT."""
BUILD = "lex-build"
"""``BOTID/en_US``. Spec: ``definition`` (``domain.lex.definition``), ``number``, which rises with each build, and ``times``.

Status: ``Status`` Building, Built or Failed, ``failureReasons``, and of the last build that succeeded ``Model``, the folder of
what was trained, and ``definition``, what it was trained on. ``control.bot_builds`` takes it from Building to the others.
"""
EXPORT, IMPORT = "lex-export", "lex-import"
"""Named by their ids."""

DRAFT = "DRAFT"
TEST_ALIAS_ID, TEST_ALIAS_NAME = "TSTALIASID", "TestBotAlias"
FALLBACK_ID, FALLBACK_NAME = "FALLBCKINT", "FallbackIntent"


def path(*parts: str) -> str:
    """The name of what is found by these ids."""
    return "/".join(parts)
