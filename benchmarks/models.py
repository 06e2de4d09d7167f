"""The two models that are served, the request that is sent, and what has to come back.

*tiny*: a scaler and 100 trees, microseconds a row: what is measured is everything around the model. *heavy*: a network of 67 MB,
about 2 ms for one row and hardly more for several: what is measured is whether batches form.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FEATURES = 30
HIDDEN = 4096


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model file, a request's body (JSON, one row) and the prediction that is right."""

    name: str
    path: Path
    body: bytes
    expected: float

    def check(self, answer: bytes) -> None:
        """Raises ``WrongAnswer``: a run that answers wrongly measures nothing."""
        try:
            found = json.loads(answer)
            found = found["predictions"] if isinstance(found, dict) else found
            value = float(np.ravel(found)[0])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise WrongAnswer(f"no prediction in {answer[:200]!r}: {error}") from error
        if not np.isclose(value, self.expected, rtol=1e-3, atol=1e-5):
            raise WrongAnswer(f"predicted {value}, right is {self.expected}")


class WrongAnswer(Exception):
    """A server answered, but not what the model says."""


def load_case(name: str, folder: Path) -> Case:
    """Make the model once, and ask it in this process for the right answer."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    if not path.exists():
        temporary = path.with_suffix(".part")
        temporary.write_bytes(_tiny() if name == "tiny" else _heavy())
        temporary.rename(path)
    row = np.round(np.random.default_rng(7).normal(1.0, 0.5, FEATURES), 4)
    body = json.dumps({"instances": [row.tolist()]}).encode()
    return Case(name=name, path=path, body=body, expected=_ask(path, row))


def _ask(path: Path, row: np.ndarray) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: row[None].astype(np.float32)}
    return float(np.ravel(session.run(None, feed)[0])[0])


def _tiny() -> bytes:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer()
    model = make_pipeline(
        StandardScaler(), GradientBoostingRegressor(n_estimators=100, random_state=7)
    )
    model.fit(data.data, data.target.astype(float))
    onnx = to_onnx(model, data.data[:1].astype(np.float32))
    return bytes(onnx.SerializeToString())


def _heavy() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(7)
    shapes = [(FEATURES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
    nodes, weights, last = [], [], "x"
    for place, shape in enumerate(shapes):
        values = (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{place}"))
        is_end = place == len(shapes) - 1
        product = "y" if is_end else f"p{place}"
        nodes.append(helper.make_node("MatMul", [last, f"w{place}"], [product]))
        if not is_end:
            last = f"a{place}"
            nodes.append(helper.make_node("Relu", [product], [last]))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])]
        for name, width in (("x", FEATURES), ("y", 1))
    ]
    graph = helper.make_graph(nodes, "heavy", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
