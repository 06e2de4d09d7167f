"""Which models are run: only what the library knows, and all of it."""

import struct

import numpy as np
import pytest

from modelyard.ai.firefox_model import check_model, check_shortlist, check_vocabularies
from modelyard.ai.marian_format import (
    CONFIGURATION,
    FLOAT32,
    INT8,
    FormatError,
    Tensor,
    read_model,
    read_shortlist,
)
from modelyard.testing.firefox_models import SETTINGS, marian_file, shortlist_file, tensors

PAIRS = {2: 3, 0: 0}
WORDS = 16


def model(*, of_integers: bool = True) -> dict[str, Tensor]:
    return read_model(marian_file(tensors(PAIRS, WORDS, of_integers=of_integers)))


def configured(**settings: str) -> Tensor:
    said = {**SETTINGS, **{name.replace("_", "-"): value for name, value in settings.items()}}
    text = "".join(f"{name}: {value}\n" for name, value in said.items()).encode()
    return Tensor(0x101, (len(text),), memoryview(text))


@pytest.mark.parametrize("of_integers", [True, False])
def test_a_model_needs_each_of_its_tensors(of_integers: bool) -> None:
    whole = model(of_integers=of_integers)
    assert check_model(whole) == (WORDS, WORDS)
    for name in whole.keys() - {"decoder_ff_logit_out_b"}:
        lacking = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(FormatError, match=r"Wemb|has no"):
            check_model(lacking)
        if name != CONFIGURATION and not name.endswith("_QuantMultA"):
            other = Tensor(whole[name].kind, (3, 3), memoryview(bytes(36)))
            with pytest.raises(FormatError, match=name):
                check_model({**whole, name: other})


def test_source_and_target_may_have_words_of_their_own() -> None:
    whole = model()
    shared = whole.pop("Wemb")
    alpha = Tensor(INT8, (1,), memoryview(struct.pack("<bf", 127, 16.0)))
    assert whole.pop("none_QuantMultA")
    own = {"encoder_Wemb": shared, "decoder_Wemb": shared, "decoder_Wemb_QuantMultA": alpha}
    assert check_model({**whole, **own}) == (WORDS, WORDS)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"type": "s2s"}, "type: s2s, and only those with transformer"),
        ({"transformer_decoder_autoreg": "self-attention"}, "rnn"),
        ({"dec_cell": "gru"}, "ssru"),
        ({"transformer_ffn_activation": "swish"}, "relu"),
        ({"transformer_postprocess": "da"}, "postprocess: da"),
        ({"transformer_preprocess": "n"}, "preprocess: n"),
        ({"enc_depth": "2"}, "no tensor encoder_l2_self_Wq"),
        ({"dec_depth": "99999999999999"}, "no size"),
        ({"dim_emb": "-8"}, "no size"),
        ({"transformer_heads": "3"}, "3 heads"),
        ({"transformer_dim_ffn": "65"}, "ffn_W1"),
    ],
)
def test_another_network_is_refused(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        check_model({**model(), CONFIGURATION: configured(**settings)})


def test_numbers_that_are_none_are_refused() -> None:
    row = np.full((1, WORDS), np.nan, np.float32).tobytes()
    with pytest.raises(FormatError, match="no numbers"):
        check_model(
            {**model(), "decoder_ff_logit_out_b": Tensor(FLOAT32, (1, WORDS), memoryview(row))}
        )
    for alpha in (0.0, -1.0, np.inf, np.nan):
        data = memoryview(np.full((1, 1), alpha, np.float32).tobytes())
        with pytest.raises(FormatError, match="none_QuantMultA is"):
            check_model({**model(), "none_QuantMultA": Tensor(FLOAT32, (1, 1), data)})


def test_files_of_another_model_are_refused() -> None:
    check_vocabularies((WORDS, WORDS), (WORDS, WORDS - 1))
    with pytest.raises(FormatError, match="16 words of the target, and the vocabulary has 17"):
        check_vocabularies((WORDS, WORDS), (WORDS, WORDS + 1))
    check_shortlist(read_shortlist(shortlist_file(PAIRS, WORDS)), (WORDS, WORDS))
    for pairs, words in (({2: WORDS}, WORDS), (PAIRS, 8)):
        with pytest.raises(FormatError, match="does not know"):
            check_shortlist(read_shortlist(shortlist_file(pairs, 16)), (words, words))
