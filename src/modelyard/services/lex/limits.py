"""How many of each thing there may be: AWS's default quotas of Lex V2."""

BOTS = 250
"""Of an account and region."""
LOCALES = 25
VERSIONS = 100
ALIASES = 25
"""Of a bot; the test alias is not counted."""
INTENTS = 1_000
SLOT_TYPES = 250
"""Of a locale."""
SLOTS = 100
UTTERANCES = 1_500
"""Of an intent."""
VALUES = 50_000
"""Values and synonyms of all slot types of a locale."""
TAGS = 50
EXPORTS = 100
IMPORTS = 100
UPLOADS = 20
"""Of an account and region; with one more, the oldest goes."""
ARCHIVE_BYTES = 50 * 1024 * 1024
UNPACKED_BYTES = 100 * 1024 * 1024
ARCHIVE_FILES = 20_000
"""Of an import, and of an export alike."""
