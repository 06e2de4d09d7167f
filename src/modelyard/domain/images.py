"""Images and the built-in runtimes that stand for them: one readable table.

An image URI is matched by its repository name; account, region, registry, tag and digest are ignored, so that the addresses
which the SageMaker SDK looks up for its framework containers work unchanged. Any other image needs a container runtime.

All runtimes are served but ``tensorflow`` and ``mxnet``, whose models the loader refuses with a reason, which is more than
to say that the image is unknown. An artifact with a script is served by its script, whatever the runtime's own formats are.

Local programs become images by ``modelyard image add``; they are matched by the same rule.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

PROGRAM = "program"
"""The runtime of a local program."""
ENGINE = "engine"
"""The runtime of an image that a container engine runs."""

RUNTIMES: dict[str, str] = {
    "modelyard/python": "auto",
    "modelyard/onnx": "onnx",
    "modelyard/sklearn": "sklearn",
    "modelyard/xgboost": "xgboost",
    "modelyard/lightgbm": "lightgbm",
    "modelyard/pytorch": "pytorch",
    "modelyard/catboost": "catboost",
    "modelyard/mlflow": "mlflow",
    "modelyard/huggingface": "huggingface",
    "modelyard/ai": "ai",
    "mlflow-pyfunc": "mlflow",
    "sagemaker-scikit-learn": "sklearn",
    "sagemaker-xgboost": "xgboost",
    "xgboost": "xgboost",
    "pytorch-inference": "pytorch",
    "pytorch-inference-graviton": "pytorch",
    "sagemaker-pytorch": "pytorch",
    "huggingface-pytorch-inference": "huggingface",
    "tensorflow-inference": "tensorflow",
    "tensorflow-inference-graviton": "tensorflow",
    "sagemaker-tensorflow-serving": "tensorflow",
    "huggingface-tensorflow-inference": "tensorflow",
    "mxnet-inference": "mxnet",
    "sagemaker-mxnet-serving": "mxnet",
}
"""Repository name to runtime. ``auto`` decides by the model's files."""


class Program(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program of this machine that answers ``train`` and ``serve``.

    ``command`` gets one of these words as its last argument; empty, the word itself is the program, looked for in
    ``folder``. ``reads`` are further folders that it may read. ``network``: its own, with nothing in it but loopback, or
    this machine's.
    """

    name: str
    command: tuple[str, ...] = ()
    folder: str = ""
    reads: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    network: Literal["private", "shared"] = "private"


def program_of(uri: str, programs: Mapping[str, Program]) -> Program | None:
    """The local program that an image stands for, if any."""
    return programs.get(repository(uri))


def repository(uri: str) -> str:
    """``683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1`` is ``sagemaker-xgboost``."""
    name = uri.partition("@")[0]
    registry, slash, rest = name.partition("/")
    if slash and ("." in registry or ":" in registry or registry == "localhost"):
        name = rest
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def runtime_of(uri: str) -> str | None:
    """The built-in runtime of an image, None for one that needs a container runtime."""
    return RUNTIMES.get(repository(uri))
