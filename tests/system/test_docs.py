"""The documentation: its site builds, and the commands of its first page run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKED = re.compile(r"<!-- run -->\n```bash\n(.*?)```", re.DOTALL)
LOADED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']*["'][^>]*>"""
)


def test_the_site_builds_without_a_dead_link_and_asks_no_other_host(
    clients_folder: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    built = subprocess.run(
        [clients_folder / "docs/bin/mkdocs", "build", "--strict", "--site-dir", site],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9",
             "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    pages = sorted(site.rglob("*.html"))
    guides = {path.stem for path in (DOCS / "guides").glob("*.md")}
    assert guides <= {path.stem for path in pages}
    for page in pages:
        loaded = [one for one in LOADED.findall(page.read_text()) if 'rel="canonical"' not in one]
        assert loaded == [], page


@pytest.fixture
def shell_home(tmp_path: Path) -> Iterator[Path]:
    # Short: where tests have run a thousand times, one more letter is too many for the path of a socket.
    yield tmp_path / "p"
    subprocess.run(
        [sys.executable, "-m", "modelyard.cli.main", "down", "--home", tmp_path / "p"],
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_commands_of_the_first_page_run_as_they_stand(
    shell_home: Path, clients_folder: Path, tmp_path: Path
) -> None:
    blocks = MARKED.findall((DOCS / "start.md").read_text())
    assert len(blocks) >= 6
    script = "\n".join(("set -euo pipefail", *blocks))
    # The one difference: a port that no platform of this machine's user has.
    script = script.replace("modelyard up --detach", "modelyard up --detach --port 0")
    programs = (Path(sys.executable).parent, clients_folder / "aws-cli/bin")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            **kept,
            "PATH": ":".join((*map(str, programs), os.environ["PATH"])),
            "HOME": str(tmp_path),
            "MODELYARD_HOME": str(shell_home),
        },
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    assert finished.stdout.count('"predictions"') == 2, finished.stdout
    assert "iris" in finished.stdout
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 150
