"""The loaders of torch, CatBoost, MLflow, transformers, CTranslate2 and fxtranslate, in the environment that has them."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache" / "venvs" / "frameworks" / "bin" / "python"
TESTS = (
    "tests/unit/frameworks/test_heavy_formats.py",
    "tests/unit/ai/test_ctranslate.py",
    "tests/unit/ai/test_firefox.py",
)


@pytest.mark.timeout(600)
def test_every_heavy_framework_passes_its_own_tests() -> None:
    if not PYTHON.exists():
        pytest.skip("the heavy frameworks are not installed: make clients")
    finished = subprocess.run(
        [str(PYTHON), "-m", "pytest", "-p", "no:cacheprovider", "-rs", *TESTS],
        cwd=ROOT, capture_output=True, text=True, timeout=590, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    assert "SKIPPED" not in finished.stdout, finished.stdout[-2000:]
