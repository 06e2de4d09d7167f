"""Published tables: what a reader sees before, between and after publications."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.store.published import Published, Publisher


def _reader(folder: Path) -> Published[dict[str, Any]]:
    return Published(folder, "keys", decode=msgspec.json.decode, empty={})


def test_a_reader_sees_the_empty_table_before_the_first_publication(tmp_path: Path) -> None:
    assert _reader(tmp_path).current() == {}


def test_a_reader_sees_each_publication_at_its_next_look(tmp_path: Path) -> None:
    reader, publisher = _reader(tmp_path), Publisher(tmp_path, "keys")
    for number in range(3):
        publisher.publish({"number": number})
        assert reader.current() == {"number": number}


def test_a_table_outlives_its_publisher(tmp_path: Path) -> None:
    Publisher(tmp_path, "keys").publish({"a": 1})
    assert _reader(tmp_path).current() == {"a": 1}


def test_an_unchanged_table_is_not_read_again(tmp_path: Path) -> None:
    Publisher(tmp_path, "keys").publish({"a": 1})
    reader = _reader(tmp_path)
    first = reader.current()
    assert reader.current() is first


def test_a_table_of_another_format_is_refused(tmp_path: Path) -> None:
    Publisher(tmp_path, "keys").publish({})
    (tmp_path / "keys.json").write_bytes(b'{"format": 99, "table": {}}')
    with pytest.raises(ValueError, match="format 99"):
        _reader(tmp_path).current()


def test_a_table_may_hold_secrets_so_only_its_owner_reads_it(tmp_path: Path) -> None:
    Publisher(tmp_path, "keys").publish({})
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
