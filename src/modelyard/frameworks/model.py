"""What a loaded model is to a worker, and what can go wrong with one."""

from typing import Any, Protocol

import numpy as np

from modelyard.frameworks.bodies import Batch

Array = np.ndarray[Any, np.dtype[Any]]
Output = Array | dict[str, Array]
"""One row of the first axis for each row of the batch; several named ones for ``MODELYARD_OUTPUT=*``."""


class Model(Protocol):
    """A model that predicts batches of rows."""

    @property
    def row_wise(self) -> bool:
        """Whether a row's answer never depends on its neighbours, so that callers' rows may share a predict."""

    def predict(self, batch: Batch) -> Output:
        """Raises ``BadInput`` for what the caller did wrong; anything else is the model's fault."""


class LoadError(Exception):
    """The model cannot be loaded; the text is the endpoint's ``FailureReason``."""


class BadInput(Exception):
    """The rows are not what the model takes (HTTP 400 of the container)."""


def framework_missing(package: str, extra: str) -> LoadError:
    """The library is not installed: say the one command that mends it."""
    return LoadError(
        f"This model needs {package}, which is not installed: pip install 'modelyard[{extra}]', "
        "then modelyard down and modelyard up."
    )


def one_output(name: str, known: list[str]) -> LoadError:
    return LoadError(
        f"MODELYARD_OUTPUT={name!r} is not among the model's outputs: {', '.join(known)}."
    )
