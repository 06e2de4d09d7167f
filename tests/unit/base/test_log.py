"""The log file of a process that runs for long."""

import subprocess
import sys
from pathlib import Path

STORY = """
import logging, os, sys
from pathlib import Path
from modelyard.base import log

log.LOG_BYTES = 10_000
log.configure("objects", file=Path(sys.argv[1]))
for number in range(1_000):
    logging.getLogger("story").info("line %d of a thousand", number)
os.write(1, b"and what was printed\\n")
"""


def run(file: Path, output: Path) -> None:
    """A process whose output goes there."""
    with output.open("ab") as stream:
        subprocess.run(
            [sys.executable, "-c", STORY, str(file)], stdout=stream, stderr=stream, check=True
        )


def test_a_log_begins_another_file_when_it_is_long_and_one_old_file_is_kept(tmp_path: Path) -> None:
    file, old = tmp_path / "objects.log", tmp_path / "objects.log.1"
    run(file, file)
    assert sorted(tmp_path.iterdir()) == [file, old]
    assert max(path.stat().st_size for path in (file, old)) < 11_000
    lines = (old.read_text() + file.read_text()).splitlines()
    assert lines[-1] == "and what was printed"
    numbers = [int(line.split()[6]) for line in lines[:-1]]
    assert numbers == list(range(numbers[0], 1_000)), "none is lost between the two"


def test_what_goes_elsewhere_is_not_touched(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "objects.log", tmp_path / "elsewhere"
    file.write_text("of another")
    run(file, elsewhere)
    assert file.read_text() == "of another"
    assert len(elsewhere.read_text().splitlines()) == 1_001
