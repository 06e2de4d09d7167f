"""How many instructions a request costs, by process: exact where a shared machine's clock is not.

callgrind counts a run of few requests and a run of many; the difference is the requests' own. Python's hashes are fixed, so
that a count repeats within a thousandth.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

PARTS = {
    "gateway": "HTTP, routing, counting, frames; --no-auth",
    "signed": "the same, with each request's SigV4 verified",
    "worker": "decode, predict and encode in batches of 64",
}
FEW, MANY = 640, 6_400
TIMEOUT_SECONDS = 300
_COLLECTED = re.compile(r"Collected : (\d+)")


@dataclass(frozen=True)
class Cost:
    """Of one part, per request."""

    part: str
    instructions: int


def measure(part: str) -> Cost:
    """Raises ``RuntimeError`` where the run fails; exits where there is no valgrind."""
    if shutil.which("valgrind") is None:
        sys.exit("Counting instructions needs valgrind: apt-get install valgrind")
    return Cost(part, (_run(part, MANY) - _run(part, FEW)) // (MANY - FEW))


def _run(part: str, count: int) -> int:
    program = [sys.executable, "-m", "benchmarks.paths", part, str(count)]
    finished = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    match = _COLLECTED.search(finished.stderr)
    if finished.returncode or match is None:
        raise RuntimeError(f"{' '.join(program)} failed:\n{finished.stderr[-2000:]}")
    return int(match[1])
