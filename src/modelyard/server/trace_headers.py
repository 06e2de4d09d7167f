"""Headers that go with traces to their collector, kept apart from the settings: they are often a key, and control's alone."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def save_headers(path: Path, headers: Mapping[str, str] | None) -> None:
    """For control, readable by its user only; None removes those of an earlier start."""
    if headers is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(headers), file)
    os.replace(temporary, path)


def load_headers(path: Path) -> dict[str, str]:
    """What ``save_headers`` left."""
    try:
        found: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found
