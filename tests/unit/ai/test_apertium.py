"""Apertium as an engine. Its programs are others here: a pipeline that gives texts back, one that dies, one that is silent."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.ai import apertium
from modelyard.ai.apertium import ApertiumEngine, PipelineFailed, load
from modelyard.ai.apertium_stream import Garbled, Sent
from modelyard.ai.engine import LibraryMissing
from modelyard.ai.translating import Piece, text_of

MODES = {
    "echo": "exec cat",
    "dead": "exec true",
    "mute": "exec sleep 60",
    "babbler": "seq 20 | while read n; do printf x; sleep 0.1; done; head -c1 /dev/zero",
    "empty": "exec sed -uz 's/.*//'",
}
RUNS = st.one_of(st.text(max_size=20), st.text(min_size=1, max_size=8).map(lambda t: {"fixed": t}))
PIECES = st.lists(st.lists(RUNS, min_size=1, max_size=3), min_size=1, max_size=4)


def one_line(text: str) -> bool:
    return "\0" not in text and "  " not in text


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApertiumEngine]:
    """Each pair is called as the program that stands for it."""
    program = tmp_path / "apertium-wblank-mode"
    cases = "".join(f'*/{name}.mode) echo "{line}" ;;\n' for name, line in MODES.items())
    program.write_text(f'#!/bin/sh\ncase "$2" in\n{cases}*) exit 1 ;;\nesac\n')
    program.chmod(0o755)
    (tmp_path / "apertium").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(apertium, "SILENCE_SECONDS", 0.2)
    loaded = load(None, {"pairs": " ".join(f"{name}={name}" for name in MODES)})
    yield loaded
    loaded.close()


def translated(engine: ApertiumEngine, pair: str, *pieces: Piece) -> Any:
    (finding,) = engine.answer("translate", [{"pieces": list(pieces)}], {"pair": pair})
    return finding


@given(PIECES)
@example([["a", {"fixed": "b"}], ["[x] {y} ^$@/\\<>"], [" "], ["it's ~5* #z."]])
@example([["zqxaxqz"]])
@example([["\n"], ["a\n\n"]])
def test_what_comes_back_unchanged_is_what_was_sent(pieces: list[Any]) -> None:
    try:
        sent = Sent(pieces)
    except Garbled:
        return
    whole = "".join(text_of(run) for piece in pieces for run in piece).replace("\0", "")
    parts = sent.read(sent.stream) if whole.strip() else []
    if one_line(whole) and parts:
        assert "".join(text for _, text in parts).replace("\0", "").strip() == whole.strip()


def test_markup_moves_with_its_words() -> None:
    sent = Sent([["The "], ["red"], [" house"]])
    assert sent.stream == "[[t:p:0]]The[[/]] [[t:p:1]]red[[/]] [[t:p:2]]house[[/]].[]"
    turned = "[[t:p:0]]La[[/]] [[t:p:2]]casa[[/]] [[t:p:1]]roja[[/]].[]"
    assert sent.read(turned) == [(0, "La "), (2, "casa "), (1, "roja")]
    joined = "[[t:p:0; t:p:1]]La roja[[/]] [[t:p:2]]casa[[/]].[]"
    assert sent.read(joined) == [(1, "La roja "), (2, "casa")]


def test_what_is_fixed_comes_back_exactly_or_not_at_all() -> None:
    sent = Sent([["Buy ", {"fixed": "Amazon [Photos]"}, " at https://example.com/red?x=1."]])
    assert "example" not in sent.stream and "Photos" not in sent.stream
    compra = sent.stream.replace("Buy", "Compra").replace(" at", " en")
    assert sent.read(compra) == [(0, "Compra Amazon [Photos] en https://example.com/red?x=1.")]
    for spoiled in ("Compra.[]", compra.replace("zqx", "zq"), compra + " zqxaxqz", "zqxjjxqz[]"):
        with pytest.raises(Garbled):
            sent.read(spoiled)


def test_texts_keep_their_paragraphs_and_edges(engine: ApertiumEngine) -> None:
    text = "  One.\nTwo\n\n\n three & $4 \n"
    assert translated(engine, "echo", [text]).result == {"parts": [(0, text)]}
    assert translated(engine, "echo", ["  "]).result == {"parts": [(0, "  ")]}
    assert translated(engine, "echo", ["12 $"]).result == {"parts": [(0, "12 $")]}


def test_a_long_text_and_many_texts_pass_through_pipes_that_hold_little(
    engine: ApertiumEngine,
) -> None:
    text = "word " * 100_000 + "end."
    items = [{"pieces": [[text]]} for _ in range(3)]
    findings = engine.answer("translate", items, {"pair": "echo"})
    assert [one.result["parts"] for one in findings] == [[(0, text)]] * 3


def test_a_pipeline_that_died_is_started_again(engine: ApertiumEngine) -> None:
    assert translated(engine, "echo", ["a."]).result == {"parts": [(0, "a.")]}
    engine._pipelines["echo"].close()
    engine._pipelines["echo"] = apertium.Pipeline("dead")
    assert translated(engine, "echo", ["b."]).result == {"parts": [(0, "b.")]}


@pytest.mark.parametrize("pair", ["dead", "mute"])
def test_one_that_dies_or_falls_silent_again_is_an_error(engine: ApertiumEngine, pair: str) -> None:
    with pytest.raises(PipelineFailed, match=pair):
        translated(engine, pair, ["a."])
    assert engine._pipelines == {}


def test_one_that_hangs_as_soon_as_it_is_started_is_started_once(
    engine: ApertiumEngine, tmp_path: Path
) -> None:
    program = tmp_path / "apertium-wblank-mode"
    started = tmp_path / "started"
    program.write_text(
        program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\necho >> {started}\n")
    )
    with pytest.raises(PipelineFailed, match="mute"):
        translated(engine, "mute", ["a."])
    assert started.read_text() == "\n"
    engine._pipelines["echo"] = apertium.Pipeline("mute")
    assert translated(engine, "echo", ["b."]).result == {"parts": [(0, "b.")]}


def test_one_that_always_says_a_little_more_has_no_more_time_than_others(
    engine: ApertiumEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apertium, "SILENCE_SECONDS", 10.0)
    monkeypatch.setattr(apertium, "ANSWER_SECONDS", 0.2)
    with pytest.raises(PipelineFailed, match="babbler"):
        translated(engine, "babbler", ["a."])


def test_one_that_cannot_be_started_is_tried_again_and_then_an_error(
    engine: ApertiumEngine, tmp_path: Path
) -> None:
    program = tmp_path / "apertium-wblank-mode"
    good = program.read_text()
    program.write_text(
        good.replace(
            "#!/bin/sh\n",
            f"#!/bin/sh\nmkdir {tmp_path}/tried && exit 1\n",
        )
    )
    assert translated(engine, "echo", ["a."]).result == {"parts": [(0, "a.")]}
    engine.close()
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(PipelineFailed, match="apertium echo cannot be started"):
        translated(engine, "echo", ["a."])


def test_a_text_of_which_nothing_comes_back_is_an_error_of_its_own(
    engine: ApertiumEngine,
) -> None:
    assert "no translation" in translated(engine, "empty", ["abc."]).error
    assert "no pair xx" in translated(engine, "xx", ["abc."]).error


def test_without_apertium_the_command_that_mends_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LibraryMissing, match="apt-get install apertium"):
        load(None, {})


@pytest.mark.skipif(
    not Path(apertium.MODES, "eng-spa.mode").exists() or shutil.which("apertium") is None,
    reason="Apertium's English and Spanish are not installed",
)
def test_the_real_one_translates() -> None:
    real = load(None, {"pairs": "en-es=eng-spa"})
    try:
        finding = translated(real, "en-es", ["The "], ["red"], [" house is ", {"fixed": "Red"}])
    finally:
        real.close()
    assert finding.result["parts"] == [(0, "La "), (2, "casa "), (1, "roja "), (2, "es Red")]
