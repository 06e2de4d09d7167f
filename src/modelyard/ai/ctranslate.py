"""Neural translation by models in CTranslate2's format, such as converted OPUS-MT ones: a folder of the user's own.

The folder has ``model.bin`` and ``config.json`` with their vocabularies, as CTranslate2's converters write them, and the
SentencePiece models ``source.spm`` and ``target.spm`` (or one ``sentencepiece.model`` for both). Markup goes to the words that
the model's attention says.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from modelyard.ai.engine import EngineError, LibraryMissing, required_folder
from modelyard.ai.questions import Finding, Item
from modelyard.ai.stretches import Section, Stretch, Word, answered, sections

TOKENS_MAX = 200
"""Of one question to the model; what is longer is cut between two words, and a word that is longer loses its end."""
OUTPUT_TOKENS_MAX = 500
BATCH_TOKENS = 2_048
BEAM_DEFAULT = "2"
THREADS_DEFAULT = "1"
"""Threads that wait for each other are slower than one where processors are busy."""
_END = "</s>"
_SPACE = "\u2581"


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
        return answered(items, self._words)

    def _words(self, stretches: Sequence[Stretch]) -> list[list[Word]]:
        asked = [
            (number, Section(section.tokens[:TOKENS_MAX], section.places, section.end))
            for number, one in enumerate(stretches)
            for section in sections(one.bare, self._encode, TOKENS_MAX)
        ]
        found: list[list[Word]] = [[] for _ in stretches]
        results = self._translator.translate_batch(
            [[*self._prefix, *section.tokens, *self._suffix] for _, section in asked],
            beam_size=self._beam,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,
            max_decoding_length=OUTPUT_TOKENS_MAX,
            replace_unknowns=True,
            return_attention=True,
        )
        for (number, section), result in zip(asked, results, strict=True):
            found[number] += self._read(result.hypotheses[0], result.attention[0], section)
        return found

    def _encode(self, words: Sequence[str]) -> list[list[str]]:
        return list(self._source.encode(list(words), out_type=str))

    def _read(
        self, said: Sequence[str], attention: Sequence[Sequence[float]], section: Section
    ) -> list[Word]:
        begins = [n for n, token in enumerate(said) if n == 0 or token.startswith(_SPACE)]
        skipped, count = len(self._prefix), len(section.tokens)
        words = []
        for begin, end in pairwise([*begins, len(said)]):
            rows = [row[skipped : skipped + count] for row in attention[begin:end]]
            looked_at = [sum(weights) for weights in zip(*rows, strict=True)]
            origin = section.places[looked_at.index(max(looked_at))]
            space = " " if said[begin].startswith(_SPACE) else ""
            words.append(Word(space + self._target.decode(list(said[begin:end])), origin))
        return words


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
