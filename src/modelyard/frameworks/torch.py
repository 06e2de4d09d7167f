"""PyTorch models that carry their code with them: TorchScript (``.pt``, ``.pth``) and ``torch.export`` (``.pt2``).

A file that ``torch.save`` wrote is a pickle of weights or of anybody's classes, and no model without the code that made it:
that code is a script's ``model_fn``.

The model takes one tensor of float32 rows; what it answers is one row each. ``MODELYARD_OUTPUT`` chooses among several: a
position, or a name where it answers a dictionary. Rows of different requests share a call unless ``MODELYARD_MERGE=false``,
and what was exported for one size of a batch fails with any other.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import (
    Array,
    BadInput,
    FrameworkMissing,
    LoadError,
    Model,
    Output,
    table_of,
    unknown_output,
)

_SINGLE_BYTES = 4
_SCRIPT_MARK = "constants.pkl"
"""In an archive of TorchScript and in none of ``torch.save``."""


def load(path: Path, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for what holds no program."""
    try:
        import torch
    except ImportError:
        raise FrameworkMissing("torch", "torch") from None
    torch.set_num_threads(threads)
    try:
        if path.suffix == ".pt2":
            module = torch.export.load(path).module()
        else:
            _check_is_script(path)
            module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        text = (str(error).strip() or "no reason").splitlines()[0]
        raise LoadError(f"{path.name} is not a model that PyTorch reads: {text}") from error
    return TorchModel(torch, module, output)


def _check_is_script(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rpartition("/")[2] == _SCRIPT_MARK for name in archive.namelist()):
                return
    raise LoadError(
        f"{path.name} holds weights or pickled objects, but no program. Save the model with torch.jit.save or "
        "torch.export.save, or add code/inference.py whose model_fn builds it."
    )


class TorchModel:
    """``module`` called with one tensor."""

    row_wise = True

    def __init__(self, torch: Any, module: Any, output: str) -> None:
        self._torch = torch
        self._module = module
        self._output = output

    @property
    def is_single_precision(self) -> bool:
        """Numbers become float32 tensors."""
        return True

    def predict(self, batch: Batch) -> Output:
        rows = table_of(batch, ())
        try:
            numbers = np.ascontiguousarray(rows, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise BadInput(f"The model takes numbers: {error}.") from error
        with self._torch.inference_mode():
            found = self._module(self._torch.from_numpy(numbers))
        return self._chosen(found)

    def _chosen(self, found: Any) -> Output:
        if isinstance(found, dict):
            named = {str(name): _array(value) for name, value in found.items()}
            if self._output in ("", "*"):
                return named
            if self._output not in named:
                raise unknown_output(self._output, list(named))
            return named[self._output]
        if isinstance(found, tuple | list):
            place = self._output or "0"
            if not place.isdecimal() or int(place) >= len(found):
                raise unknown_output(self._output, [str(at) for at in range(len(found))])
            found = found[int(place)]
        return _array(found)


def _array(value: Any) -> Array:
    tensor = value.detach().cpu()
    is_half = tensor.dtype.is_floating_point and tensor.element_size() < _SINGLE_BYTES
    return np.asarray((tensor.float() if is_half else tensor).numpy())
