"""What is seen of a text: words, pairs, letters and slot types for its intent; of each word its surroundings for the slots."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from modelyard.ai.lex.bot import Reading

GROUPS = "wcx"
"""Words, characters within words, and words with slot types in the place of what may be values."""
_WORDS_MAX = 200
"""Of a text; what comes later is not looked at."""
_EDGE = "|"


def of_text(reading: Reading) -> Counter[str]:
    """Features with their counts; the first letter is the group."""
    words = [word.text for word in reading.words[:_WORDS_MAX]]
    seen = [f"w{word}" for word in words]
    seen += [f"w{one} {other}" for one, other in zip([_EDGE, *words], [*words, _EDGE], strict=True)]
    for word in words:
        padded = f" {word} "
        for size in (3, 4):
            seen += [f"c{padded[at : at + size]}" for at in range(len(padded) - size + 1)]
    for kind, marks in reading.hits.items():
        abstract = _abstract(words, marks[: len(words)], kind)
        if abstract != words:
            seen.append(f"x{{{kind}}}")
            seen += [
                f"x{one} {other}"
                for one, other in zip([_EDGE, *abstract], [*abstract, _EDGE], strict=True)
                if "{" in one + other
            ]
    return Counter(seen)


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
    lengths = {group: math.sqrt(square) for group, square in squares.items()}
    return {name: value / lengths[name[0]] for name, value in raw.items()}


def of_words(reading: Reading, usual: Mapping[str, str]) -> list[list[str]]:
    """For each word what is seen of it, whatever the intent. ``usual`` marks words that are seldom values."""
    words = reading.words[:_WORDS_MAX]
    padded = [_EDGE, _EDGE, *(word.text for word in words), _EDGE, _EDGE]
    hits = [(kind, ["", *marks[:_WORDS_MAX], ""]) for kind, marks in reading.hits.items()]
    found = []
    for place, word in enumerate(words):
        shape = _shape(reading.text[word.begin : word.end])
        seen = _of_word(padded[place : place + 5], shape, usual)
        for kind, marks in hits:
            around = padded[place + 1 : place + 4]
            seen += _of_marks(kind, marks[place : place + 3], around, usual)
        found.append(seen)
    return found


def of_words_of(reading: Reading, intent: str) -> list[list[str]]:
    """For each word what else is seen of it where the text stands for an intent."""
    words = [word.text for word in reading.words[:_WORDS_MAX]]
    found = [
        [f"i{intent}", f"i-1{intent} {last}", f"i+1{intent} {following}"]
        for last, following in zip([_EDGE, *words], [*words[1:], _EDGE], strict=False)
    ]
    for kind, marks in reading.hits.items():
        for place, mark in enumerate(marks[:_WORDS_MAX]):
            if mark:
                found[place].append(f"h{kind}{mark}i{intent}")
    return found


def _of_word(around: Sequence[str], shape: str, usual: Mapping[str, str]) -> list[str]:
    """Of the word in the middle; two are before it, and two behind."""
    last2, last, word, next1, next2 = around
    rare = usual.get(word, "?")
    return [
        "bias",
        f"0{word}",
        f"-1{last}",
        f"+1{next1}",
        f"-2{last2}",
        f"+2{next2}",
        f"-1,0{last} {word}",
        f"0,+1{word} {next1}",
        f"-2,-1{last2} {last}",
        f"+1,+2{next1} {next2}",
        f"^{word[:3]}",
        f"${word[-3:]}",
        f"shape{shape}",
        f"u{rare}",
        f"u{usual.get(last, '?')}{rare}{usual.get(next1, '?')}",
        f"u{rare}-1{last}",
        f"u{rare}+1{next1}",
    ]


def _of_marks(
    kind: str, marks: Sequence[str], around: Sequence[str], usual: Mapping[str, str]
) -> Sequence[str]:
    """Of one slot type, at the word in the middle of three."""
    before, here, after = marks
    if not (here or before or after):
        return ()
    last, word, following = around
    seen = (
        f"h{kind}{here}",
        f"h{kind}{here}{usual.get(word, '?')}",
        f"h{kind}-{before},{here}",
        f"h{kind}+{here},{after}",
    )
    return (*seen, f"h{kind}{here}-1{last}", f"h{kind}{here}+1{following}") if here else seen


def _shape(word: str) -> str:
    if word.isalpha():  # Nearly all.
        return "Aa" if word[0].isupper() else "a"
    if word.isdigit():
        return "9"
    if any(one.isdigit() for one in word):
        return "a9"
    if word[:1].isupper():
        return "Aa"
    return "a" if word[:1].isalpha() else "."
