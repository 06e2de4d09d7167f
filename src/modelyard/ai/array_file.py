"""A small model as one ``.npz`` without pickles: arrays, and in ``about`` what they are."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from modelyard.ai.engine import EngineError

Array = np.ndarray[Any, np.dtype[Any]]
Model = TypeVar("Model")


def write_arrays(path: Path, about: Mapping[str, Any], **arrays: Array) -> None:
    """The same model gives the same bytes. ``about`` has its ``format``."""
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez_compressed(path, about=text, **arrays)  # type: ignore[arg-type]  # an option of the same type


def read_arrays(
    path: Path,
    make: Callable[[Mapping[str, Any], Mapping[str, Array]], Model],
    *,
    version: int,
    what: str,
) -> Model:
    """What ``make`` makes of ``about`` and the arrays. Raises ``EngineError`` for a file that is no such model."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(bytes(arrays["about"]))
            if about["format"] != version:
                raise EngineError(f"{path.name} has format {about['format']}, not {version}.")
            return make(about, arrays)
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{path.name} is no {what}: {error}") from error
