"""A small model in the form of Firefox's, whose weights are written rather than learned: word by word, as the other one's.

A position's waves of high frequency tell one place from another; the sines of low frequency hardly move, so there words have a
dimension each, and some that nobody has say what normalisation has taken away. The decoder looks at the same place of the source
and says what stands for the word there. Its recurrent unit adds nothing. Run as a program, it writes the model to a folder.
"""

import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.marian_format import CONFIGURATION, FLOAT32, INT8, SHORTLIST_MAGIC
from modelyard.testing.translation_models import SAME, WORDS, token, write_tokens

WIDTH, INNER = 256, 64
_QUARTER, _UNUSED = WIDTH // 4, 16
_SHARP, _LOUD = 60.0, 4.0
_END = "</s>"
_TEXT = 0x101
_ALPHAS = {"q": 80.0, "k": 80.0, "o": 2.0}
"""By which what goes into a weight is made an integer; places need finer steps than words."""
SETTINGS: Mapping[str, str] = {
    "type": "transformer", "transformer-decoder-autoreg": "rnn", "dec-cell": "ssru", "transformer-ffn-activation": "relu",
    "transformer-ffn-depth": "2", "transformer-preprocess": '""', "transformer-postprocess": "dan", "dim-emb": str(WIDTH),
    "transformer-heads": "1", "transformer-dim-ffn": str(INNER), "enc-depth": "1", "dec-depth": "1",
}  # fmt: skip

Array = np.ndarray[Any, np.dtype[np.float32]]
Tensor = tuple[str, int, Sequence[int], bytes]


def write_model(folder: Path, *, of_integers: bool = True, shortlist: bool = True) -> None:
    """The files that the engine ``firefox`` loads."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.enfr.spm"
    write_tokens(vocabulary, [*WORDS, *WORDS.values()], bos_id=-1, eos_id=0, unk_id=1)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    numbers = {pieces.id_to_piece(n): n for n in range(pieces.get_piece_size())}
    count = -(-len(numbers) // 8) * 8
    pairs = {token(one): token(other) for one, other in WORDS.items()}
    pairs |= {one: one for one in (*SAME, _END)}
    by_number = {numbers[one]: numbers[other] for one, other in pairs.items()}
    model = marian_file(tensors(by_number, count, of_integers=of_integers))
    (folder / "model.enfr.intgemm.alphas.bin").write_bytes(model)
    if shortlist:
        (folder / "lex.50.50.enfr.s2t.bin").write_bytes(shortlist_file(by_number, count))


def tensors(pairs: Mapping[int, int], count: int, *, of_integers: bool) -> list[Tensor]:
    """Of a network that says for each word its pair. ``count``: how many words there are."""
    dimensions = {
        word: _QUARTER + n for n, word in enumerate(dict.fromkeys([*pairs, *pairs.values()]))
    }
    embeddings = np.zeros((count, WIDTH), np.float32)
    bias = np.full((1, count), -_LOUD, np.float32)
    for word, dimension in dimensions.items():
        embeddings[word, dimension] = 1.0
        bias[0, word] = 0.0
    of_places = np.tile(np.repeat([True, False], _QUARTER), 2)
    places = np.diag(of_places).astype(np.float32)
    places[2 * _QUARTER - _UNUSED : 2 * _QUARTER, of_places] = -1.0 / _UNUSED
    says = np.zeros((WIDTH, WIDTH), np.float32)
    for word, other in pairs.items():
        says[dimensions[word], dimensions[other]] = 1.0
    weights = {
        "decoder_l1_context_Wq": places * _SHARP, "decoder_l1_context_Wk": places,
        "decoder_l1_context_Wv": says, "decoder_l1_context_Wo": np.eye(WIDTH, dtype=np.float32) * _LOUD,
    }  # fmt: skip
    nothing = np.zeros((WIDTH, WIDTH), np.float32)
    floats = {"decoder_ff_logit_out_b": bias, "decoder_l1_rnn_bf": nothing[:1]}
    weights |= {f"encoder_l1_self_W{one}": nothing for one in "qkvo"}
    weights |= {"decoder_l1_rnn_W": nothing, "decoder_l1_rnn_Wf": nothing}
    for side in ("encoder", "decoder"):
        weights |= {f"{side}_l1_ffn_W1": nothing[:, :INNER], f"{side}_l1_ffn_W2": nothing[:INNER]}
        floats |= {f"{side}_l1_ffn_b1": nothing[:1, :INNER], f"{side}_l1_ffn_b2": nothing[:1]}
    for base in ("encoder_l1_self", "decoder_l1_context"):
        floats |= {f"{base}_b{one}": nothing[:1] for one in "qkvo"}
    for base in (
        "encoder_l1_self_Wo",
        "encoder_l1_ffn_ffn",
        "decoder_l1_rnn_ffn",
        "decoder_l1_context_Wo",
        "decoder_l1_ffn_ffn",
    ):
        floats |= {f"{base}_ln_scale": nothing[:1] + 1.0, f"{base}_ln_bias": nothing[:1]}
    found = [_floats(name, values) for name, values in floats.items()]
    if of_integers:
        found += [_integers(name, values.T, values.shape) for name, values in weights.items()]
        found += [
            _floats(f"{name}_QuantMultA", np.full((1, 1), _ALPHAS.get(name[-1], 8.0), np.float32))
            for name in [*weights, "none"]
        ]
        found.append(_integers("Wemb", embeddings, embeddings.shape))
    else:
        found += [_floats(name, values) for name, values in {**weights, "Wemb": embeddings}.items()]
    text = "".join(f"{name}: {value}\n" for name, value in SETTINGS.items()).encode() + b"\0"
    return [*found, (CONFIGURATION, _TEXT, (len(text),), text)]


def _floats(name: str, values: Array) -> Tensor:
    return name, FLOAT32, values.shape, values.astype("<f4").tobytes()


def _integers(name: str, values: Array, shape: Sequence[int]) -> Tensor:
    """``shape`` is the weight's own, which is stored the other way round."""
    multiplier = 127.0 / max(float(np.abs(values).max()), 1.0)
    data = np.rint(values * multiplier).astype("i1").tobytes() + struct.pack("<f", multiplier)
    return name, INT8, shape, data + bytes(-len(data) % 256)


def marian_file(tensors: Sequence[Tensor]) -> bytes:
    """A model as Marian writes it."""
    out = bytearray(struct.pack("<2Q", 1, len(tensors)))
    for name, kind, shape, data in tensors:
        out += struct.pack("<4Q", len(name.encode()) + 1, kind, len(shape), len(data))
    for name, _, _, _ in tensors:
        out += name.encode() + b"\0"
    for _, _, shape, _ in tensors:
        out += struct.pack(f"<{len(shape)}i", *shape)
    gap = -(len(out) + 8) % 256
    out += struct.pack("<Q", gap) + bytes(gap)
    return bytes(out) + b"".join(data for _, _, _, data in tensors)


def shortlist_file(pairs: Mapping[int, int], count: int) -> bytes:
    """Of each word its pair alone, and the first eight always."""
    begins, candidates = [0], []
    for word in range(count):
        candidates += [pairs[word]] if word in pairs else []
        begins.append(len(candidates))
    return struct.pack(
        f"<6Q{len(begins)}Q{len(candidates)}I",
        *(SHORTLIST_MAGIC, 0, 8, 1, len(begins), len(candidates)), *begins, *candidates,
    )  # fmt: skip


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
