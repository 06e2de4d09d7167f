"""``python -m benchmarks soak``: minutes of load at the limit, sliced: memory that stays, errors that do not come."""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import measure
from benchmarks.models import Case
from benchmarks.systems import System

CONNECTIONS = 64
WARM_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Memory at its end, of all processes together."""

    rate: float
    p99_ms: float
    p999_ms: float
    errors: int
    memory_mib: float


def slices(system: System, case: Case, *, count: int, seconds: float) -> Iterator[Slice]:
    """One after the other on one server. Raises ``WrongAnswer`` and ``NotHere``."""
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as name,
        system.run(case, Path(name)) as running,
    ):
        folder = Path(name)
        measure(running.target, case, connections=CONNECTIONS, seconds=WARM_SECONDS, folder=folder)
        for _ in range(count):
            found = measure(
                running.target, case, connections=CONNECTIONS, seconds=seconds, folder=folder
            )
            yield Slice(
                rate=found.rate,
                p99_ms=found.p99,
                p999_ms=found.p999,
                errors=found.errors,
                memory_mib=running.memory_mib(),
            )


def growth_mib(memory: list[float]) -> float:
    """Of the median from the first quarter of the slices to the last."""
    quarter = max(1, len(memory) // 4)
    return statistics.median(memory[-quarter:]) - statistics.median(memory[:quarter])
