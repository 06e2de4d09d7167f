"""``python -m benchmarks.quality [PAGE]``: fetch what is measured on, measure, write the page."""

import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.quality import language, lex, pii, recognisers, sentiment, translation
from benchmarks.quality.tables import page
from modelyard.ai import installing
from modelyard.ai.catalogue import ARCHIVE, read_pack
from modelyard.testing.archives import unpack

FOLDER = Path(__file__).parent
CACHE = FOLDER.parents[1] / ".cache" / "quality"
PAGE = FOLDER.parents[1] / "docs" / "reference" / "quality.md"
MEASURES = (
    language.measure, sentiment.measure, pii.measure, recognisers.measure, translation.measure, lex.measure,
)  # fmt: skip
"""In the page's order."""
_LIBRARIES = ("numpy", "scikit-learn", "scipy")


def main() -> None:
    """All sections, in their order."""
    pack = read_pack((FOLDER / "evaluation.toml").read_bytes())
    if installing.verify(pack, CACHE):
        installing.install(pack, CACHE, accept_licence=False, say=print)
    with tempfile.TemporaryDirectory() as folder:
        data, work = Path(folder, "data"), Path(folder, "work")
        work.mkdir()
        unpack(CACHE / pack.name / ARCHIVE, data)
        sections = []
        for measure in MEASURES:
            sections.append(measure(data, work))
            print(sections[-1].title)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page(sections, _made()))


def _made() -> str:
    """What told one run from another."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(
        git, cwd=FOLDER, capture_output=True, text=True, check=True
    ).stdout.strip()
    used = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    where = f"{platform.system()} {platform.machine()}"
    return (
        f"This page was made on {datetime.now(UTC):%Y-%m-%d} of the commit `{commit}`, with Python "
        f"{platform.python_version()}, {used} on {where}."
    )


if __name__ == "__main__":
    main()
