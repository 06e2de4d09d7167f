"""What was built is used where it is of the C that lies here, and otherwise Modelyard says what to do."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from modelyard import native
from modelyard.native.sources import digest

NAME = "modelyard.native._native"
HERE = Path(native.__file__).parent


def test_what_was_built_of_this_c_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ModuleType(NAME)
    monkeypatch.setattr(found, "sources", digest(HERE), raising=False)
    monkeypatch.setitem(sys.modules, NAME, found)
    assert native.load(HERE) == (found, "")


def test_what_was_built_of_other_c_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, found)
    assert native.load(HERE) == (None, native.STALE)
    monkeypatch.setattr(found, "sources", digest(HERE)[:-1] + "?", raising=False)
    assert native.load(HERE) == (None, native.STALE)


def test_where_there_is_no_c_what_was_built_is_used_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, found)
    assert native.load(tmp_path) == (found, "")


def test_where_nothing_was_built_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)
    assert native.load(HERE) == (None, native.NOT_BUILT)


def test_what_cannot_be_loaded_is_left_alone_with_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> ModuleType:
        raise ImportError("file too short")

    monkeypatch.setattr("importlib.import_module", broken)
    built, why_not = native.load(HERE)
    assert built is None
    assert "file too short" in why_not


def test_the_digest_knows_names_contents_and_where_a_file_ends(tmp_path: Path) -> None:
    seen = {digest(tmp_path)}
    for files in (
        {"a.c": b"12", "b.h": b"3"},
        {"a.c": b"1", "b.h": b"23"},
        {"a.c": b"12", "c.h": b"3"},
        {"a.c": b"12"},
    ):
        for path in tmp_path.iterdir():
            path.unlink()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "other.py").write_bytes(content)
        assert digest(tmp_path) not in seen
        seen.add(digest(tmp_path))
