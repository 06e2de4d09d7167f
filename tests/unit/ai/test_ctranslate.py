"""The engine of neural models, with a small one whose weights are written; in an environment that has CTranslate2."""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ctranslate2")

from modelyard.ai import ctranslate
from modelyard.ai.ctranslate import NeuralEngine, load
from modelyard.ai.engine import EngineError, load_engine
from modelyard.testing.translation_models import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    write_model(path)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> NeuralEngine:
    return load(folder, {"beam": "1"})


def translated(engine: NeuralEngine, *pieces: Any) -> Any:
    (finding,) = engine.answer("translate", [{"pieces": list(pieces)}], {"pair": "en-fr"})
    return [(number, text) for number, text in finding.result["parts"]]


def test_sentences_and_paragraphs_keep_their_edges(engine: NeuralEngine) -> None:
    text = "  The red house of my brother is big. I see the dog!\n\n One dog, and Zork.\n"
    said = "  La rouge maison de mon frère est grande. je vois la chien!\n\n Un chien, et Zork.\n"
    assert translated(engine, [text]) == [(0, said)]
    assert translated(engine, [" \n"]) == [(0, " \n")]
    assert translated(engine, ["12 $"]) == [(0, "12 $")]


def test_markup_goes_with_the_words_that_the_model_looked_at(engine: NeuralEngine) -> None:
    pieces = ["The "], ["red"], [" house of "], ["my brother"], [" is big."]
    assert translated(engine, *pieces) == [
        (0, "La"), (1, " rouge"), (2, " maison de"), (3, " mon frère"), (4, " est grande."),
    ]  # fmt: skip


def test_what_is_fixed_stands_as_it_is_or_cuts_the_sentence(engine: NeuralEngine) -> None:
    term: dict[str, str] = {"fixed": "Zork Inc"}
    assert translated(engine, ["I see ", term, " and the dog."]) == [
        (0, "je vois Zork Inc et la chien.")
    ]
    house: dict[str, str] = {"fixed": "house"}
    assert translated(engine, ["The ", house, " is big."]) == [(0, "La house est grande.")]
    mark: dict[str, str] = {"fixed": "\ufdd00\ufdd1"}
    assert translated(engine, ["The dog"], [mark], [" is big."]) == [
        (0, "La chien\ufdd00\ufdd1"), (2, " est grande."),
    ]  # fmt: skip


def test_no_word_of_a_long_sentence_is_lost(
    engine: NeuralEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctranslate, "TOKENS_MAX", 7)
    assert translated(engine, ["the red house " * 10]) == [(0, "la rouge maison " * 10)]


def test_many_items_are_answered_in_their_order(engine: NeuralEngine) -> None:
    items = [{"pieces": [[text]]} for text in ("dog", "the house", "") * 4]
    findings = engine.answer("translate", items, {"pair": "en-fr"})
    said = ["".join(text for _, text in one.result["parts"]) for one in findings]
    assert said == ["chien", "la maison", ""] * 4


def test_a_folder_that_is_no_model_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no model.bin, config.json, sentencepiece.model"):
        load_engine("ctranslate2", tmp_path, {})
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.bin").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match="cannot be loaded"):
        load_engine("ctranslate2", broken, {})
    with pytest.raises(EngineError, match="cannot be loaded"):
        load_engine("ctranslate2", folder, {"beam": "many"})
