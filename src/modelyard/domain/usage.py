"""What AWS's AI services count, and what it costs by a price table. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TEXT_UNIT_CHARACTERS, TEXT_UNITS_MIN = 100, 3
MANTISSA_DIGITS = 10

Prices = Mapping[str, Mapping[str, float]]
"""By service, then usage type: US dollars for one unit."""


def text_units(text: str) -> int:
    """Comprehend's: one for each 100 characters that were begun, at least three a document."""
    return max(TEXT_UNITS_MIN, -(-len(text) // TEXT_UNIT_CHARACTERS))


def text_units_of_all(texts: Sequence[str]) -> int:
    """Each document of a batch is counted for itself."""
    return sum(text_units(text) for text in texts)


def cost(prices: Prices, service: str, usage_type: str, quantity: float) -> float:
    """In US dollars; what the table does not name is free."""
    return quantity * prices.get(service, {}).get(usage_type, 0.0)


def amount(value: float) -> str:
    """A number as Cost Explorer writes it: plain digits, no exponent, no trailing zeros."""
    text = f"{value:.{MANTISSA_DIGITS}f}".rstrip("0").rstrip(".")
    return text or "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """``start`` inclusive, ``end`` exclusive; ISO dates."""

    start: str
    end: str

    def holds(self, day: str) -> bool:
        """Whether a day is in it."""
        return self.start <= day < self.end
