"""One measured figure, and the page of all of them."""

from collections.abc import Sequence
from typing import NamedTuple

_ABOUT = (
    "How good the models behind the AI services are, measured by `make quality` on data that packages carry, against a baseline "
    "that is named. Everything is seeded: the same packages on the same processor give the same page, and on another one a last "
    "digit may differ. What is not measured here says so."
)


class Figure(NamedTuple):
    """``ours`` and ``baseline`` as they are shown; ``of`` says what was counted."""

    what: str
    of: str
    ours: str
    baseline: str = ""


class Section(NamedTuple):
    """One task: which model, on what, against what."""

    title: str
    about: str
    model: str
    baseline: str
    figures: Sequence[Figure]


def page(sections: Sequence[Section], made: str) -> str:
    """The page in Markdown; ``made``: by which run."""
    lines = ["# Quality", "", _ABOUT, "", made, ""]
    for section in sections:
        lines += [f"## {section.title}", "", section.about, ""]
        lines += [
            f"| | of | {section.model} | {section.baseline or 'no baseline'} |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {one.what} | {one.of} | {one.ours} | {one.baseline} |" for one in section.figures
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def share(part: float) -> str:
    """0.6849 as ``0.685``."""
    return f"{part:.3f}"
