"""The engine of Firefox's models, with a small one whose weights are written; in an environment that has fxtranslate."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.engine import EngineError, load_engine
from modelyard.ai.firefox import Hint, placed
from modelyard.testing.firefox_models import write_model

ITEMS: Any = [
    [["  The red house of my brother is big. I see the dog!\n\n One dog, and the house.\n"]],
    [["The "], ["red"], [" house of "], ["my brother"], [" is big."]],
    [["I see ", {"fixed": "Zork Inc"}, " and the dog."]],
    [["the red house " * 50]],
    [["12 $"]],
    [[""]],
]  # fmt: skip
SAID = [
    [(0, "  La rouge maison de mon frère est grande. je vois la chien!\n\n Un chien, et la maison.\n")],
    [(0, "La"), (1, " rouge"), (2, " maison de"), (3, " mon frère"), (4, " est grande.")],
    [(0, "je vois Zork Inc et la chien.")],
    [(0, "la rouge maison " * 50)],
    [(0, "12 $")],
    [],
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("fxtranslate")
    path = tmp_path_factory.mktemp("model")
    write_model(path)
    return path


def translated(folder: Path) -> Any:
    items = [{"pieces": pieces} for pieces in ITEMS]
    findings = load_engine("firefox", folder, {}).answer("translate", items, {"pair": "en-fr"})
    return [[(number, text) for number, text in one.result["parts"]] for one in findings]


def test_sentences_markup_and_terms_are_translated(folder: Path) -> None:
    assert translated(folder) == SAID


def test_weights_of_floats_and_no_shortlist_say_the_same(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path, of_integers=False, shortlist=False)
    shutil.copy(tmp_path / "vocab.enfr.spm", tmp_path / "srcvocab.enfr.spm")
    shutil.move(tmp_path / "vocab.enfr.spm", tmp_path / "trgvocab.enfr.spm")
    assert translated(tmp_path) == SAID


def test_a_folder_that_is_no_model_says_why(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"one model\*\.bin, unpacked, and has none"):
        load_engine("firefox", tmp_path, {})
    for name, data, reason in (
        ("model.enfr.intgemm.alphas.bin", b"nonsense", "version"),
        ("model.enfr.intgemm.alphas.bin", None, "it ends within the tensor"),
        ("lex.50.50.enfr.s2t.bin", None, "it ends within its candidates"),
        ("vocab.enfr.spm", b"nonsense", "cannot be loaded"),
    ):
        broken = tmp_path / f"{name}-{reason}"
        shutil.copytree(folder, broken)
        path = broken / name
        path.write_bytes(path.read_bytes()[:-40] if data is None else data)
        with pytest.raises(EngineError, match=reason):
            load_engine("firefox", broken, {})
    with pytest.raises(EngineError, match="needs the files of a pack"):
        load_engine("firefox", None, {})


def test_a_word_belongs_to_the_run_that_says_the_like_of_it_or_else_stands_near() -> None:
    hints = [
        Hint(0, 0.0, 0.1, "El "), Hint(4, 0.15, 0.3, "blanco"), Hint(9, 0.3, 0.6, "casa"), Hint(15, 0.6, 1.0, "es grande."),
    ]  # fmt: skip
    assert [(word.text, word.origin) for word in placed("La casa blanca es grande.", hints)] == [
        ("La", 0), (" casa", 9), (" blanca", 4), (" es", 15), (" grande.", 15),
    ]  # fmt: skip
    twice = [Hint(0, 0.0, 0.5, "de"), Hint(7, 0.5, 1.0, "de")]
    assert [word.origin for word in placed("de x de", twice)] == [0, 0, 7]
    alone = [Hint(0, 0.0, 0.5, "\u732b"), Hint(7, 0.5, 1.0, "\u72ac")]
    assert [word.origin for word in placed("\u72ac\u3068\u732b", alone)] == [7, 0, 0]
