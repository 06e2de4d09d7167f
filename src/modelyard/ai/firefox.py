"""Neural translation by the models of Firefox (Bergamot's), in the files that Mozilla trains and Firefox downloads.

A folder has ``model.*.bin``, a vocabulary ``vocab.*.spm`` (or ``srcvocab.*.spm`` and ``trgvocab.*.spm``) and, if wanted, the
lexical shortlist ``lex.*.bin``. They are run by ``fxtranslate``, after each has been looked through, since it trusts them.

The library does not tell which words a model looked at. So markup goes to the words of a translation that are like those that
stand for the marked text when it is translated alone, and else by where they stand.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.ai.engine import EngineError, LibraryMissing, required_folder
from modelyard.ai.firefox_model import check_model, check_shortlist, check_vocabularies
from modelyard.ai.marian_format import FormatError, read_model, read_shortlist
from modelyard.ai.questions import Finding, Item
from modelyard.ai.stretches import Stretch, Word, answered, sections

TOKENS_MAX = 120
"""Of one question to the model; they were trained with 127."""
FILE_BYTES_MAX = 1 << 30
LIKENESS_MIN = 0.5
_ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of languages that put no spaces between words."""
_WORDS = re.compile(rf"\s*(?:[{_ALONE}]|[^\s{_ALONE}]+)")
_MARKS = re.compile(r"[^\w\ufdd0-\ufdef]|_")


class Hint(NamedTuple):
    """A run of the source, from 0 to 1 where it stands, and what it says when it is translated alone."""

    origin: int
    begin: float
    end: float
    said: str

    def distance(self, place: float) -> float:
        """How far it is from a place."""
        return max(self.begin - place, place - self.end, 0.0)


def placed(said: str, hints: Sequence[Hint]) -> list[Word]:
    """Each word of a translation with the run that it stands for."""
    known: dict[str, list[tuple[str, Hint]]] = {}
    for hint in hints:
        for word in filter(None, map(_core, _WORDS.findall(hint.said))):
            known.setdefault(word[0], []).append((word, hint))
    words = []
    for found in _WORDS.finditer(said):
        place = (found.start() + found.end()) / 2 / len(said)
        near = min(hints, key=lambda hint: hint.distance(place))
        best, origin = -near.distance(place) / 2, near.origin
        word = _core(found[0])
        for other, hint in known.get(word[:1], ()):
            likeness = _likeness(word, other)
            if likeness >= LIKENESS_MIN and likeness - hint.distance(place) / 2 > best:
                best, origin = likeness - hint.distance(place) / 2, hint.origin
        words.append(Word(found[0], origin))
    return words


def _core(word: str) -> str:
    """Without what surrounds it."""
    return _MARKS.sub("", word).casefold()


def _likeness(word: str, other: str) -> float:
    """How much of the longer one both begin with: endings differ where a word stands alone."""
    alike = sum(1 for _ in takewhile(bool, map(eq, word, other)))
    return alike / max(len(word), len(other))


class FirefoxEngine:
    """Task ``translate`` (see ``translating``). ``translator`` is ``fxtranslate``'s; it stays with the thread that loaded it."""

    def __init__(
        self, translator: Any, encode: Callable[[Sequence[str]], Sequence[list[str]]]
    ) -> None:
        self._translator = translator
        self._encode = encode

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """A sentence at a time."""
        return answered(items, lambda stretches: [self._words(one) for one in stretches])

    def _words(self, stretch: Stretch) -> list[Word]:
        said = self._said(stretch.bare)
        if len({run.piece for run in stretch.runs}) == 1:
            return [Word(said, 0)]
        return placed(said, self._hints(stretch))

    def _said(self, text: str) -> str:
        found, begin = [], 0
        for section in sections(text, self._encode, TOKENS_MAX):
            some, begin = text[begin : section.end].strip(), section.end
            is_short = len(section.tokens) <= TOKENS_MAX
            translate = self._translator.translate if is_short else self._translator.translate_long
            found.append(translate(some).strip())
        return " ".join(filter(None, found))

    def _hints(self, stretch: Stretch) -> list[Hint]:
        """Of all runs that are more than space."""
        bare = stretch.bare
        begin = -stretch.text.index(bare)
        hints = []
        for run in stretch.runs:
            end = begin + len(run.text)
            if run.text.strip():
                is_shown = run.is_fixed or not any(map(str.isalpha, run.text))
                said = run.text if is_shown else self._said(run.text.strip())
                hints.append(Hint(max(begin, 0), begin / len(bare), end / len(bare), said))
            begin = end
        return hints


def load(folder: Path | None, options: Mapping[str, str]) -> FirefoxEngine:
    """Raises ``EngineError``."""
    try:
        import fxtranslate
        import sentencepiece
    except ImportError:
        raise LibraryMissing("fxtranslate", "pip install 'modelyard[firefox]'") from None
    folder = required_folder(folder)
    model = _data(_only(folder, "model*.bin"))
    if any(folder.glob("srcvocab*.spm")):
        vocabularies = [_data(_only(folder, name)) for name in ("srcvocab*.spm", "trgvocab*.spm")]
    else:
        vocabularies = [_data(_only(folder, "vocab*.spm"))] * 2
    shortlist = _data(_only(folder, "lex*.bin")) if any(folder.glob("lex*.bin")) else None
    try:
        source, target = (
            sentencepiece.SentencePieceProcessor(model_proto=one) for one in vocabularies
        )
        words = check_model(read_model(model))
        check_vocabularies(words, (source.get_piece_size(), target.get_piece_size()))
        if shortlist is not None:
            check_shortlist(read_shortlist(shortlist), words)
        translator = fxtranslate.Translator(model, *vocabularies, shortlist)
    except FormatError as error:
        raise EngineError(
            f"The folder holds no model of Firefox that can be run: {error}."
        ) from error
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"The model cannot be loaded: {error}") from error
    return FirefoxEngine(translator, lambda some: source.encode(list(some), out_type=str))


def _only(folder: Path, name: str) -> Path:
    """The one file of this name."""
    found = sorted(folder.glob(name))
    if len(found) != 1:
        have = ", ".join(one.name for one in found) or "none"
        raise EngineError(
            f"The folder of the model has to hold one {name}, unpacked, and has {have}. It needs what Mozilla publishes "
            "for a pair: model.*.bin, vocab.*.spm (or srcvocab.*.spm and trgvocab.*.spm) and, if wanted, lex.*.bin."
        )
    return found[0]


def _data(path: Path) -> bytes:
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise EngineError(f"{path.name} has {size} bytes, and at most {FILE_BYTES_MAX} are read.")
    return path.read_bytes()
