"""A small neural model of translation in the form of OPUS-MT's, whose weights are written rather than learned: word by word.

Its encoder knows words and places; its decoder looks, at each place, at the same place of the source, and says the word that
stands for the one there. So what it says is known, while everything on the way is what it is for a large model: SentencePiece,
CTranslate2's converter and search, attention. Run as a program, it writes the model to a folder.
"""

import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WORDS: Mapping[str, str] = {
    "the": "la", "The": "La", "red": "rouge", "house": "maison", "of": "de", "my": "mon", "brother": "frère", "is": "est",
    "big": "grande", "and": "et", "dog": "chien", "One": "Un", "Two": "Deux", "I": "je", "see": "vois", "in": "dans",
}  # fmt: skip
SAME = (".", ",", "!")
PLACES = 512
_SHARP, _LOUD = 10.0, 5.0
_SPECIAL = ("</s>", "<unk>")

Array = np.ndarray[Any, np.dtype[np.float32]]


def write_model(folder: Path) -> None:
    """The files that the engine ``ctranslate2`` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {**WORDS, **{one: one for one in SAME}}
    write_tokens(folder / "source.spm", list(WORDS))
    write_tokens(folder / "target.spm", list(WORDS.values()))
    spec = _spec({token(one): token(other) for one, other in pairs.items()})
    spec.validate()
    spec.save(str(folder))


def token(word: str) -> str:
    """As SentencePiece has it."""
    return word if word in SAME else f"\u2581{word}"


def write_tokens(path: Path, words: Sequence[str], **options: Any) -> None:
    """A SentencePiece model to which each word is one token, and every other a few."""
    import sentencepiece

    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(words), " ".join(string.printable)] * 20),
            model_writer=file,
            model_type="unigram",
            vocab_size=1_000,
            hard_vocab_limit=False,
            user_defined_symbols=[token(one) for one in (*dict.fromkeys(words), *SAME)],
            minloglevel=2,
            **options,
        )


def _spec(pairs: Mapping[str, str]) -> Any:
    """A dimension for each word of the source and each place."""
    from ctranslate2.specs import transformer_spec

    sources = [*_SPECIAL, *pairs]
    targets = [*_SPECIAL, *dict.fromkeys(pairs.values())]
    width = len(sources) + PLACES
    words, places = np.zeros((width, width), np.float32), np.zeros((width, width), np.float32)
    words[: len(sources), : len(sources)] = np.eye(len(sources))
    places[len(sources) :, len(sources) :] = np.eye(PLACES)
    spec = transformer_spec.TransformerSpec.from_config(1, 1)
    encoder, decoder = spec.encoder, spec.decoder
    encoder.scale_embeddings = decoder.scale_embeddings = False
    encoder.embeddings[0].weight = words[: len(sources)].copy()
    decoder.embeddings.weight = np.zeros((len(targets), width), np.float32)
    for side in (encoder, decoder):
        side.position_encodings.encodings = places[len(sources) :].copy()
        _even(side.layer_norm, width)
        _silent(side.layer[0].self_attention, width)
        _even(side.layer[0].ffn.layer_norm, width)
        _linear(side.layer[0].ffn.linear_0, np.zeros((width, width), np.float32))
        _linear(side.layer[0].ffn.linear_1, np.zeros((width, width), np.float32))
    look = decoder.layer[0].attention
    _even(look.layer_norm, width)
    _linear(look.linear[0], places * _SHARP)
    _linear(look.linear[1], np.concatenate([places, words]))
    _linear(look.linear[2], np.eye(width, dtype=np.float32))
    says = np.zeros((len(targets), width), np.float32)
    for source, target in {**{one: one for one in _SPECIAL}, **pairs}.items():
        says[targets.index(target), sources.index(source)] = _LOUD
    _linear(decoder.projection, says)
    decoder.projection.bias[: len(_SPECIAL)] = -_LOUD  # No search ends before it has to.
    spec.register_source_vocabulary(sources)
    spec.register_target_vocabulary(targets)
    spec.config.add_source_eos = True
    spec.config.decoder_start_token = _SPECIAL[0]
    return spec


def _even(norm: Any, width: int) -> None:
    norm.gamma, norm.beta = np.ones(width, np.float32), np.zeros(width, np.float32)


def _silent(attention: Any, width: int) -> None:
    _even(attention.layer_norm, width)
    _linear(attention.linear[0], np.zeros((3 * width, width), np.float32))
    _linear(attention.linear[1], np.zeros((width, width), np.float32))


def _linear(linear: Any, weight: Array) -> None:
    linear.weight, linear.bias = weight, np.zeros(weight.shape[0], np.float32)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
