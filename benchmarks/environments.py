"""Peers' environments, made on demand under ``.cache/venvs`` and kept; what is in them is part of the result."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENVS = ROOT / ".cache" / "venvs"
PACKAGES: dict[str, tuple[str, ...]] = {
    "fastapi": ("fastapi", "uvicorn[standard]", "onnxruntime"),
    "kserve": ("kserve", "onnxruntime"),
    "ray": ("ray[serve,data]", "onnxruntime", "pandas", "pyarrow"),
    "spark": ("pyspark", "onnxruntime", "pandas", "pyarrow"),
}


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment; installs it at the first call. Raises ``CalledProcessError``."""
    folder = VENVS / f"bench-{name}"
    done = folder / ".installed"
    if not done.exists():
        print(f"installing {', '.join(PACKAGES[name])} into {folder} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES[name]],
            check=True,
            timeout=900,
        )
        done.touch()
    return folder / "bin" / "python"


def versions(name: str) -> dict[str, str]:
    """What an environment has of the packages that it was made for."""
    listed = subprocess.run(
        [str(python_of(name)), "-m", "pip", "list", "--format=json"],
        check=True,
        text=True,
        capture_output=True,
    )
    wanted = {package.partition("[")[0] for package in PACKAGES[name]}
    return {
        one["name"]: one["version"] for one in json.loads(listed.stdout) if one["name"] in wanted
    }
