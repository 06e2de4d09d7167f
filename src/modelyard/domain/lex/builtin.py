"""Built-in slot types and intents of Lex V2: those that are executed, and what they are.

A type that is not listed here is not executed: an intent that names one does not build.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ALPHANUMERIC, CONFIRMATION, FREE_FORM = (
    "AMAZON.AlphaNumeric",
    "AMAZON.Confirmation",
    "AMAZON.FreeFormInput",
)


@dataclass(frozen=True, slots=True)
class SlotType:
    """As ListBuiltInSlotTypes shows it."""

    signature: str
    description: str


SLOT_TYPES: tuple[SlotType, ...] = (
    SlotType(ALPHANUMERIC, "Letters and digits, such as a booking code; a pattern may be set."),
    SlotType("AMAZON.City", "A city; any words in the slot's place are accepted."),
    SlotType(CONFIRMATION, "Yes, No, Maybe or Don't know."),
    SlotType("AMAZON.Country", "A country; any words in the slot's place are accepted."),
    SlotType("AMAZON.Date", "A day, as YYYY-MM-DD; the next one of that name."),
    SlotType("AMAZON.Duration", "A length of time, as ISO 8601 writes it: PT2H30M."),
    SlotType("AMAZON.EmailAddress", "An e-mail address."),
    SlotType("AMAZON.FirstName", "A given name; any word in the slot's place is accepted."),
    SlotType(FREE_FORM, "Whatever is said, as it was said."),
    SlotType("AMAZON.LastName", "A family name; any words in the slot's place are accepted."),
    SlotType("AMAZON.Number", "A number, as digits."),
    SlotType("AMAZON.Percentage", "A percentage, as digits and a percent sign."),
    SlotType("AMAZON.PhoneNumber", "A telephone number, as digits."),
    SlotType("AMAZON.State", "A state or province; any words in the slot's place are accepted."),
    SlotType("AMAZON.Time", "A time of day, as HH:MM; MO, AF, EV and NI for its parts."),
)
"""By signature. ``ListBuiltInSlotTypes`` shows these, and no build accepts others."""

BY_SIGNATURE: Mapping[str, SlotType] = {one.signature: one for one in SLOT_TYPES}

FALLBACK = "AMAZON.FallbackIntent"
INTENTS: Mapping[str, tuple[str, ...]] = {
    FALLBACK: (),
    "AMAZON.CancelIntent": ("cancel", "never mind", "forget it", "cancel that", "cancel it"),
    "AMAZON.HelpIntent": ("help", "help me", "can you help me", "i need help", "what can you do"),
    "AMAZON.RepeatIntent": ("repeat", "say that again", "repeat that", "what did you say"),
    "AMAZON.StartOverIntent": ("start over", "restart", "start again", "begin again"),
    "AMAZON.StopIntent": ("stop", "off", "shut up", "stop it", "end this"),
}
"""Signature of a built-in intent to what is said for it; the fallback is for what no other intent understands."""
