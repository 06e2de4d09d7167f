"""Lines from a file that grows: each once, none without bound, the disk given back."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard.runtimes import output
from modelyard.runtimes.output import FREE_ABOVE, LINE_LIMIT, TAIL_BYTES, Tail
from modelyard.runtimes.runtime import LogStream

STREAM = LogStream(account="1", region="r", group="g", stream="s")
MEGABYTE = 1 << 20


class Printer:
    """A process's end of the file, and the host's."""

    def __init__(self, folder: Path, *, quota: int = 1 << 30) -> None:
        self.path = folder / "raw.log"
        self.quota = quota
        self.folder = folder
        self.lines: list[str] = []
        self.open()

    def open(self) -> None:
        self.tail = Tail(
            self.path, self.folder / "place", STREAM, sink=self._sink, quota=self.quota
        )

    def _sink(self, stream: LogStream, events: Sequence[tuple[int, str]]) -> None:
        assert stream == STREAM
        self.lines += [text for _, text in events]

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def print(self, data: bytes, *, last: bool = False) -> None:
        self.write(data)
        self.read(last=last)

    def read(self, *, last: bool = False) -> None:
        while self.tail.read(1.0):
            pass
        if last:
            self.tail.read(1.0, last=True)

    def restart(self) -> None:
        self.tail.close()
        self.open()


def test_a_line_is_handed_on_when_it_is_whole(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.print(b"one\ntw")
    assert printer.lines == ["one"]
    printer.print(b"o\n\r\nthree\r\n\xff\n")
    assert printer.lines == ["one", "two", "three", "\ufffd"]


def test_an_unfinished_line_is_handed_on_at_the_end(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.print(b"one\ntwo", last=True)
    assert printer.lines == ["one", "two"]


@pytest.mark.parametrize("size", [LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1, 3 * MEGABYTE + 5])
def test_a_long_line_becomes_several_and_loses_nothing(tmp_path: Path, size: int) -> None:
    printer = Printer(tmp_path)
    printer.print(b"x" * size + b"\ny\n")
    assert max(map(len, printer.lines)) <= LINE_LIMIT
    assert "".join(printer.lines) == "x" * size + "y"


def test_a_successor_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.print(b"one\ntw")
    printer.restart()
    printer.print(b"o\nthree\n")
    assert printer.lines == ["one", "two", "three"]
    assert printer.tail.last_lines(100) == "one\ntwo\nthree"


def test_on_a_full_disk_lines_are_handed_on_and_a_successor_may_repeat_some(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "place").symlink_to("/dev/full")
    printer = Printer(tmp_path)
    printer.print(b"one\n")
    printer.print(b"two\n")
    assert printer.lines == ["one", "two"]
    assert caplog.text.count("cannot be saved") == 1
    printer.tail.close()
    (tmp_path / "place").unlink()
    printer.restart()
    printer.print(b"three\n")
    assert printer.lines == ["one", "two", "one", "two", "three"]
    printer.restart()
    printer.read()
    assert printer.lines[-1] == "three"


def test_past_the_quota_the_rest_is_skipped_with_one_line_that_says_so(tmp_path: Path) -> None:
    printer = Printer(tmp_path, quota=100)
    for number in range(50):
        printer.print(b"line %d\n" % number)
    printer.restart()
    printer.print(b"z" * MEGABYTE + b"\nthe end\n", last=True)
    assert printer.lines[-1] == "[modelyard] more than 100 bytes were printed; the rest is dropped"
    assert sum(map(len, printer.lines[:-1])) <= 100
    assert printer.tail.last_lines(100).endswith("the end")


def test_the_disk_is_given_back_as_it_is_read(tmp_path: Path) -> None:
    printer = Printer(tmp_path, quota=1000)
    for _ in range(8):
        printer.print(b"x" * (MEGABYTE - 1) + b"\n")
    status = printer.path.stat()
    assert status.st_size == 8 * MEGABYTE
    assert status.st_blocks * 512 <= 2 * FREE_ABOVE


def test_an_unfinished_line_is_not_given_back(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.print(b"x\n" * MEGABYTE + b"begun ")
    printer.restart()
    printer.print(b"and done\n")
    assert printer.lines[-1] == "begun and done"


def test_without_holes_the_file_is_emptied_when_all_of_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_free", lambda *_: False)
    printer = Printer(tmp_path)
    printer.print(b"x\n" * MEGABYTE)
    assert printer.path.stat().st_size == 0
    printer.print(b"next\n")
    printer.restart()
    printer.print(b"last\n")
    assert printer.lines[-2:] == ["next", "last"]


def test_a_file_that_somebody_emptied_is_read_from_its_start(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.print(b"one\ntwo\n")
    os.truncate(printer.path, 0)
    printer.print(b"new\n")
    assert printer.lines == ["one", "two", "new"]


def test_one_turn_reads_a_bounded_amount(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.write((b"x" * 63 + b"\n") * (12 * MEGABYTE // 64))
    read = printer.tail.read(1.0)
    assert 0 < read < 12 * MEGABYTE
    assert printer.tail.read(1.0) == 12 * MEGABYTE - read


def test_last_lines_are_whole_and_no_more_than_asked_for(tmp_path: Path) -> None:
    printer = Printer(tmp_path)
    printer.print(b"a first line\nthe second\nthe third\n")
    assert printer.tail.last_lines(25) == "the second\nthe third"
    printer.print(b"y" * 2 * TAIL_BYTES + b"\n")
    assert printer.tail.last_lines(25) == "y" * 25
    printer.tail.close()
    printer.tail.close()
