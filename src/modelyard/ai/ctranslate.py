"""Neural translation by models in CTranslate2's format, such as converted OPUS-MT ones: a folder of the user's own.

The folder has ``model.bin`` and ``config.json`` with their vocabularies, as CTranslate2's converters write them, and the
SentencePiece models ``source.spm`` and ``target.spm`` (or one ``sentencepiece.model`` for both). Markup goes to the words that
the model's attention says; a run that is fixed is shown to the model in its place, and if it does not come back exactly so,
what stands before and after is translated by itself.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.ai.engine import EngineError, LibraryMissing, required_folder
from modelyard.ai.questions import Finding, Item
from modelyard.ai.translating import Part, merged, text_of

TOKENS_MAX = 200
"""Of one question to the model; what is longer is cut between two words, and a word that is longer loses its end."""
OUTPUT_TOKENS_MAX = 500
BATCH_TOKENS = 2_048
BEAM_DEFAULT = "2"
THREADS_DEFAULT = "1"
"""Threads that wait for each other are slower than one where processors are busy."""
_END = "</s>"
_SPACE = "\u2581"
_CUT = re.compile(
    r"[.!?\u2026][\"'\u201d\u2019)\]]*(?=\s+[\"'\u201c\u2018(\[\u00bf\u00a1]?[A-Z0-9\u00c0-\u00d6\u00d8-\u00de])"
    r"|[\u3002\uff01\uff1f]|\s*\n\s*\n\s*"
)
_WORD = re.compile(r"\S+")
_NOTHING = "The model gives no translation of this text."


class _Run(NamedTuple):
    """A stretch of an item's text: the number of its piece, and whether it stays as it is."""

    piece: int
    text: str
    is_fixed: bool


class _Word(NamedTuple):
    """Of a translation, with its space; ``origin`` is the place in the source that the model looked at most."""

    text: str
    origin: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A sentence of an item, or what is left of one between fixed runs."""

    runs: Sequence[_Run]

    @property
    def text(self) -> str:
        return "".join(run.text for run in self.runs)

    @property
    def has_words(self) -> bool:
        return any(letter.isalpha() for run in self.runs if not run.is_fixed for letter in run.text)

    def as_it_is(self) -> list[Part]:
        return [(run.piece, run.text) for run in self.runs]

    def parts(self, words: Sequence[_Word]) -> list[Part] | None:
        """The translation with the edges of the source; None where a fixed run is not in it."""
        text = self.text
        bare = text.strip()
        begin = text.index(bare)
        said = "".join(word.text for word in words).strip()
        if not said:
            return None
        fixed = [run.text for run in self.runs if run.is_fixed]
        if any(said.count(one) != fixed.count(one) for one in fixed):
            return None
        found = merged((self._piece_at(begin + word.origin), word.text) for word in words)
        found[0] = found[0][0], text[:begin] + found[0][1].lstrip()
        found[-1] = found[-1][0], found[-1][1].rstrip() + text[begin + len(bare) :]
        return found

    def _piece_at(self, place: int) -> int:
        for run in self.runs:
            place -= len(run.text)
            if place < 0:
                return run.piece
        return self.runs[-1].piece

    def between_fixed(self) -> Iterator["_Stretch"]:
        """Fixed runs for themselves, and the stretches between."""
        runs: list[_Run] = []
        for run in self.runs:
            if run.is_fixed:
                yield from ([_Stretch(runs)] if runs else [])
                yield _Stretch([run])
                runs = []
            else:
                runs.append(run)
        yield from ([_Stretch(runs)] if runs else [])


class NeuralEngine:
    """Task ``translate`` (see ``translating``). ``translator`` is CTranslate2's, ``source`` and ``target`` SentencePiece's."""

    def __init__(
        self, translator: Any, source: Any, target: Any, *, prefix: Sequence[str], suffix: Sequence[str], beam: int
    ) -> None:  # fmt: skip
        self._translator = translator
        self._source = source
        self._target = target
        self._prefix = list(prefix)
        self._suffix = list(suffix)
        self._beam = beam

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """All items go through the model together."""
        stretches = [list(_stretches(item["pieces"])) for item in items]
        first = self._translated([one for some in stretches for one in some])
        again = [list(one.between_fixed()) if parts is None else [] for one, parts in first]
        second = iter(self._translated([one for some in again for one in some]))
        answers = iter(
            parts if parts is not None else _joined([next(second)[1] for _ in some])
            for (_, parts), some in zip(first, again, strict=True)
        )
        findings = []
        for some in stretches:
            found = [next(answers) for _ in some]
            whole = _joined(found)
            findings.append(
                Finding(error=_NOTHING) if whole is None else Finding(result={"parts": whole})
            )
        return findings

    def _translated(
        self, stretches: Sequence[_Stretch]
    ) -> list[tuple[_Stretch, list[Part] | None]]:
        """None where it cannot be used."""
        asked = [one for one in stretches if one.has_words]
        said = iter(self._words([one.text.strip() for one in asked]))
        return [
            (one, one.parts(next(said)) if one.has_words else one.as_it_is()) for one in stretches
        ]

    def _words(self, texts: Sequence[str]) -> list[list[_Word]]:
        """Of each text its translation, word by word."""
        pieces = [
            (number, *piece) for number, text in enumerate(texts) for piece in self._cut(text)
        ]
        found: list[list[_Word]] = [[] for _ in texts]
        if not pieces:
            return found
        results = self._translator.translate_batch(
            [[*self._prefix, *tokens, *self._suffix] for _, tokens, _ in pieces],
            beam_size=self._beam,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,
            max_decoding_length=OUTPUT_TOKENS_MAX,
            replace_unknowns=True,
            return_attention=True,
        )
        for (number, tokens, places), result in zip(pieces, results, strict=True):
            words = self._read(result.hypotheses[0], result.attention[0], tokens, places)
            found[number] += words
        return found

    def _cut(self, text: str) -> Iterator[tuple[list[str], list[int]]]:
        """Tokens and where the word of each begins in the text, few enough for one question."""
        words = list(_WORD.finditer(text))
        tokens: list[str] = []
        places: list[int] = []
        for word, some in zip(
            words, self._source.encode([word[0] for word in words], out_type=str), strict=True
        ):
            if tokens and len(tokens) + len(some) > TOKENS_MAX:
                yield tokens, places
                tokens, places = [], []
            tokens += some[:TOKENS_MAX]
            places += [word.start()] * len(some[:TOKENS_MAX])
        if tokens:
            yield tokens, places

    def _read(
        self,
        said: Sequence[str],
        attention: Sequence[Sequence[float]],
        tokens: Sequence[str],
        places: Sequence[int],
    ) -> list[_Word]:
        begins = [n for n, token in enumerate(said) if n == 0 or token.startswith(_SPACE)]
        skipped, count = len(self._prefix), len(tokens)
        words = []
        for begin, end in pairwise([*begins, len(said)]):
            rows = [row[skipped : skipped + count] for row in attention[begin:end]]
            looked_at = [sum(weights) for weights in zip(*rows, strict=True)]
            origin = places[looked_at.index(max(looked_at))]
            space = " " if said[begin].startswith(_SPACE) else ""
            words.append(_Word(space + self._target.decode(list(said[begin:end])), origin))
        return words


def _stretches(pieces: Sequence[Sequence[Any]]) -> Iterator[_Stretch]:
    """The item's sentences; none ends within a fixed run."""
    sentence: list[_Run] = []
    for number, piece in enumerate(pieces):
        for run in piece:
            text = text_of(run)
            if not isinstance(run, str):
                sentence.append(_Run(number, text, True))
                continue
            place = 0
            for found in _CUT.finditer(text):
                sentence.append(_Run(number, text[place : found.end()], False))
                yield _Stretch(sentence)
                sentence, place = [], found.end()
            if place < len(text):
                sentence.append(_Run(number, text[place:], False))
    if sentence:
        yield _Stretch(sentence)


def _joined(found: Sequence[list[Part] | None]) -> list[Part] | None:
    parts: list[Part] = []
    for some in found:
        if some is None:
            return None
        parts += some
    return merged(parts)


def load(folder: Path | None, options: Mapping[str, str]) -> NeuralEngine:
    """``beam``: how many translations are weighed; ``prefix``: a token before each text, such as ``>>fra<<`` of a model of many
    languages; ``threads``. Raises ``EngineError``."""
    try:
        import ctranslate2
        import sentencepiece
    except ImportError:
        raise LibraryMissing("CTranslate2", "pip install 'modelyard[translate]'") from None
    folder = required_folder(folder)
    shared = folder / "sentencepiece.model"
    files = [
        path if path.exists() else shared for path in (folder / "source.spm", folder / "target.spm")
    ]
    _check(folder, [folder / "model.bin", folder / "config.json", *files])
    config = json.loads((folder / "config.json").read_text())
    try:
        translator = ctranslate2.Translator(
            str(folder), device="cpu", intra_threads=int(options.get("threads", THREADS_DEFAULT))
        )
        source, target = (
            sentencepiece.SentencePieceProcessor(model_file=str(one)) for one in files
        )
        beam = int(options.get("beam", BEAM_DEFAULT))
    except (RuntimeError, ValueError, OSError) as error:
        raise EngineError(f"The model cannot be loaded: {error}") from error
    return NeuralEngine(
        translator,
        source,
        target,
        prefix=options.get("prefix", "").split(),
        suffix=[] if config.get("add_source_eos") else [_END],
        beam=beam,
    )


def _check(folder: Path, files: Sequence[Path]) -> None:
    missing = [one.name for one in files if not one.is_file()]
    if missing:
        raise EngineError(
            f"The folder of the model has no {', '.join(missing)}. It has to hold what CTranslate2's converters write, and the "
            "model's source.spm and target.spm."
        )
