"""What is seen of a text: words, pairs, letters and slot types for its intent; of each word its surroundings for the slots."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from modelyard.ai.lex.bot import Reading

GROUPS = "wcx"
"""Words, characters within words, and words with slot types in the place of what may be values."""
_WORDS_MAX = 200
"""Of a text; what comes later is not looked at."""
_EDGE = "|"


def of_text(reading: Reading) -> Counter[str]:
    """Features with their counts; the first letter is the group."""
    words = [word.text for word in reading.words[:_WORDS_MAX]]
    found = Counter(f"w{word}" for word in words)
    found.update(
        f"w{one} {other}" for one, other in zip([_EDGE, *words], [*words, _EDGE], strict=True)
    )
    for word in words:
        padded = f" {word} "
        for size in (3, 4):
            found.update(f"c{padded[at : at + size]}" for at in range(len(padded) - size + 1))
    for kind, marks in reading.hits.items():
        abstract = _abstract(words, marks[: len(words)], kind)
        if abstract != words:
            found[f"x{{{kind}}}"] += 1
            found.update(
                f"x{one} {other}"
                for one, other in zip([_EDGE, *abstract], [*abstract, _EDGE], strict=True)
                if "{" in one + other
            )
    return found


def _abstract(words: Sequence[str], marks: Sequence[str], kind: str) -> list[str]:
    """Strong matches become one symbol each."""
    seen: list[str] = []
    for word, mark in zip(words, marks, strict=True):
        if mark == "B":
            seen.append(f"{{{kind}}}")
        elif mark != "I":
            seen.append(word)
    return seen


def rarity(texts: Iterable[Iterable[str]]) -> dict[str, float]:
    """Of each feature: the logarithm of how few of the texts have it."""
    seen: Counter[str] = Counter()
    count = 0
    for one in texts:
        count += 1
        seen.update(set(one))
    return {name: math.log((1 + count) / (1 + times)) + 1.0 for name, times in seen.items()}


def weighted(
    features: Mapping[str, int], rare: Mapping[str, float], unknown: float
) -> dict[str, float]:
    """Logarithmic counts times rarity, each group of length 1; those that nobody knows are as rare as ``unknown``."""
    raw = {
        name: (1.0 + math.log(times)) * rare.get(name, unknown) for name, times in features.items()
    }
    squares = dict.fromkeys(GROUPS, 0.0)
    for name, value in raw.items():
        squares[name[0]] += value * value
    return {name: value / math.sqrt(squares[name[0]]) for name, value in raw.items()}


def of_words(reading: Reading, intent: str, usual: Mapping[str, str]) -> list[list[str]]:
    """For each word what is seen of it. ``usual`` marks words that are seldom values."""
    words = reading.words[:_WORDS_MAX]
    texts = [word.text for word in words]
    return [list(_of_word(reading, texts, place, intent, usual)) for place in range(len(words))]


def _of_word(
    reading: Reading, texts: Sequence[str], place: int, intent: str, usual: Mapping[str, str]
) -> Iterator[str]:
    def at(offset: int) -> str:
        where = place + offset
        return texts[where] if 0 <= where < len(texts) else _EDGE

    word, begin = at(0), reading.words[place].begin
    yield "bias"
    yield f"i{intent}"
    yield f"i-1{intent} {at(-1)}"
    yield f"i+1{intent} {at(1)}"
    yield f"0{word}"
    yield f"-1{at(-1)}"
    yield f"+1{at(1)}"
    yield f"-2{at(-2)}"
    yield f"+2{at(2)}"
    yield f"-1,0{at(-1)} {word}"
    yield f"0,+1{word} {at(1)}"
    yield f"-2,-1{at(-2)} {at(-1)}"
    yield f"+1,+2{at(1)} {at(2)}"
    yield f"^{word[:3]}"
    yield f"${word[-3:]}"
    yield f"shape{_shape(reading.text[begin : reading.words[place].end])}"
    seen = "".join(usual.get(at(offset), "?") for offset in (-1, 0, 1))
    yield f"u{seen[1]}"
    yield f"u{seen}"
    yield f"u{seen[1]}-1{at(-1)}"
    yield f"u{seen[1]}+1{at(1)}"
    for kind, marks in reading.hits.items():
        here = marks[place]
        before = marks[place - 1] if place else ""
        after = marks[place + 1] if place + 1 < len(texts) else ""
        if here or before or after:
            yield f"h{kind}{here}"
            yield f"h{kind}{here}{seen[1]}"
            yield f"h{kind}-{before},{here}"
            yield f"h{kind}+{here},{after}"
        if here:
            yield f"h{kind}{here}-1{at(-1)}"
            yield f"h{kind}{here}+1{at(1)}"
            yield f"h{kind}{here}i{intent}"


def _shape(word: str) -> str:
    if word.isdigit():
        return "9"
    if any(one.isdigit() for one in word):
        return "a9"
    if word[:1].isupper():
        return "Aa"
    return "a" if word[:1].isalpha() else "."
