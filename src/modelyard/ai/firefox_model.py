"""Whether the files of a Firefox model are what the library that runs them takes for granted.

``fxtranslate`` knows one kind of network: a transformer whose decoder has Simpler Simple Recurrent Units in place of
self-attention, normalised after each part. Of another it would make nonsense, and of tensors that are missing or too small a
panic in native code; so each is looked for before.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain

import numpy as np

from modelyard.ai.marian_format import (
    FLOAT32,
    INT8,
    FormatError,
    Shortlist,
    Tensor,
    configuration,
)

SIZES_MAX = 1 << 16
_SAID: Mapping[str, str] = {
    "type": "transformer",
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "transformer-ffn-activation": "relu",
}
"""What the configuration has to say."""
_NOT_OTHERWISE: Mapping[str, Collection[str]] = {
    "transformer-ffn-depth": ("2",),
    "transformer-preprocess": ("",),
    "transformer-postprocess": ("dan",),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-postprocess-top": ("",),
    "transformer-train-position-embeddings": ("false",),
    "transformer-no-projection": ("false",),
    "layer-normalization": ("false",),
    "lemma-dim-emb": ("0",),
}
"""What it may say, or be silent about, since that is Marian's default."""
_SIZES = ("dim-emb", "transformer-heads", "transformer-dim-ffn", "enc-depth", "dec-depth")
_ALPHA = "_QuantMultA"


def check_model(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many words of the source and of the target it knows. Raises ``FormatError``."""
    settings = configuration(tensors)
    _check_settings(settings)
    width, heads, inner, encoders, decoders = (_size(settings, name) for name in _SIZES)
    if width < 4 or width % 2 or width % heads:
        raise FormatError(
            f"its dim-emb of {width} is not to be divided by two and by {heads} heads"
        )
    source, target = ("Wemb", "Wemb") if "Wemb" in tensors else ("encoder_Wemb", "decoder_Wemb")
    for name in (source, target):
        found = _tensor(tensors, name)
        _expect(tensors, name, (found.shape[0], width), found.kind)
    kind = _tensor(tensors, "encoder_l1_ffn_W1").kind
    weights = chain(
        _layers("encoder", encoders, ["self"], width, inner),
        _layers("decoder", decoders, ["rnn", "context"], width, inner),
    )
    for name, shape, is_weight in weights:
        _expect(tensors, name, shape, kind if is_weight else FLOAT32)
        if is_weight and kind == INT8:
            _check_alpha(tensors, name + _ALPHA, FLOAT32)
    if kind == INT8 and "none" + _ALPHA in tensors:
        _check_alpha(tensors, "none" + _ALPHA, FLOAT32)
    elif kind == INT8:
        _check_alpha(tensors, "decoder_Wemb" + _ALPHA, INT8)
    words = tensors[target].shape[0]
    if "decoder_ff_logit_out_b" in tensors:
        _expect(tensors, "decoder_ff_logit_out_b", (1, words), FLOAT32)
    return tensors[source].shape[0], words


def _check_settings(settings: Mapping[str, str]) -> None:
    for name, wanted in _SAID.items():
        if settings.get(name) != wanted:
            raise FormatError(
                f"its network has {name}: {settings.get(name) or 'nothing'}, and only those with {wanted} are run"
            )
    for name, accepted in _NOT_OTHERWISE.items():
        if name in settings and settings[name] not in accepted:
            raise FormatError(
                f"its network has {name}: {settings[name]}, and such ones are not run"
            )


def check_vocabularies(words: tuple[int, int], pieces: tuple[int, int]) -> None:
    """Raises ``FormatError``."""
    for side, known, given in zip(("source", "target"), words, pieces, strict=True):
        if given > known:
            raise FormatError(
                f"its model knows {known} words of the {side}, and the vocabulary has {given}: they are not of one model"
            )


def check_shortlist(shortlist: Shortlist, words: tuple[int, int]) -> None:
    """Raises ``FormatError``."""
    target = words[1]
    highest = int(shortlist.candidates.max()) if len(shortlist.candidates) else 0
    if highest >= target or shortlist.first + 8 > target:  # They are filled up to eight.
        raise FormatError(f"its shortlist names words that its model of {target} does not know")


def _size(settings: Mapping[str, str], name: str) -> int:
    said = settings.get(name, "")
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= SIZES_MAX):
        raise FormatError(f"its {name} is {said or 'missing'}, which is no size of a network")
    return int(said)


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise FormatError(f"it has no tensor {name}")
    return tensors[name]


def _expect(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, int], kind: int) -> None:
    found = _tensor(tensors, name)
    if found.shape != shape or found.kind != kind or kind not in (FLOAT32, INT8):
        raise FormatError(
            f"the tensor {name} is of kind {found.kind:#x} and shape {found.shape}, not {kind:#x} and {shape}"
        )
    values = found.floats() if kind == FLOAT32 else np.float32(found.multiplier)
    if not np.isfinite(values).all() or (kind == INT8 and found.multiplier <= 0.0):
        raise FormatError(f"the tensor {name} has values that are no numbers")


def _check_alpha(tensors: Mapping[str, Tensor], name: str, kind: int) -> None:
    """The number that makes integers of what goes into a weight."""
    found = _tensor(tensors, name)
    if found.kind != kind:
        raise FormatError(f"the tensor {name} is of kind {found.kind:#x}, not {kind:#x}")
    value = float(found.floats()[0]) if kind == FLOAT32 else found.multiplier
    if not 0.0 < value < np.inf:
        raise FormatError(f"the tensor {name} is {value}, and no multiplier")


def _layers(
    side: str, count: int, parts: list[str], width: int, inner: int
) -> Iterator[tuple[str, tuple[int, int], bool]]:
    """Names and shapes of what each layer is made of, and whether it is a weight, which may be of integers."""
    square, row = (width, width), (1, width)
    for number in range(1, count + 1):
        layer = f"{side}_l{number}"
        for part in parts:
            base = f"{layer}_{part}"
            if part == "rnn":
                yield from (
                    (f"{base}_W", square, True),
                    (f"{base}_Wf", square, True),
                    (f"{base}_bf", row, False),
                )
                norm = f"{base}_ffn"
            else:
                for letter in "qkvo":
                    yield from (
                        (f"{base}_W{letter}", square, True),
                        (f"{base}_b{letter}", row, False),
                    )
                norm = f"{base}_Wo"
            yield from ((f"{norm}_ln_scale", row, False), (f"{norm}_ln_bias", row, False))
        base = f"{layer}_ffn"
        yield from ((f"{base}_W1", (width, inner), True), (f"{base}_b1", (1, inner), False))
        yield from ((f"{base}_W2", (inner, width), True), (f"{base}_b2", row, False))
        yield from ((f"{base}_ffn_ln_scale", row, False), (f"{base}_ffn_ln_bias", row, False))
