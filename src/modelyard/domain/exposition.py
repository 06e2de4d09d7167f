"""Metrics as text that Prometheus reads (exposition format 0.0.4). Pure.

Written by hand: it is a page of rules, and a client library would keep second counts of what is counted already.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value; ``suffix`` is ``_bucket``, ``_sum`` or ``_count`` of a histogram."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """All samples of one name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[Sample]


def text(families: Iterable[Family]) -> str:
    """A family without samples is left out."""
    lines: list[str] = []
    for family in families:
        samples = [
            f"{family.name}{one.suffix}{_labels(one.labels)} {_number(one.value)}"
            for one in family.samples
        ]
        if samples:
            lines.append(f"# HELP {family.name} {_escaped(family.help)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines += samples
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str, *, quotes: bool = False) -> str:
    found = value.replace("\\", "\\\\").replace("\n", "\\n")
    return found.replace('"', '\\"') if quotes else found


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
