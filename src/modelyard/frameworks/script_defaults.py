"""What a script does not define: each framework image's own ``model_fn``, ``input_fn``, ``predict_fn``, ``output_fn``.

They follow AWS's containers: scikit-learn reads text as float32 and needs a ``model_fn``, XGBoost reads a ``DMatrix``,
PyTorch loads the one TorchScript file and speaks tensors; all answer bare JSON (``[1.0, 2.0]``), CSV or npy. Modelyard's own
images load what their loaders know. On purpose different: a single CSV line is a table of one row (AWS's containers make a
vector of it, which no estimator takes), npy arrays of objects (pickles) are refused, and what cannot be read is the
caller's error.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks import bodies, recordio
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Array, LoadError, Model
from modelyard.frameworks.service import Refusal, Service

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
LIBSVM = ("text/libsvm", "text/x-libsvm")
NO_MODEL_FN = (
    "The script has no model_fn, and the {} image has no default one: define model_fn(model_dir), which returns "
    "the model."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The functions that stand in for a script's."""

    model_fn: Callable[[str], Any]
    input_fn: Callable[[Any, str], Any]
    predict_fn: Callable[[Any, Any], Any]
    output_fn: Callable[[Any, str], Any]


def defaults_of(runtime: str, load: Callable[[], Model | Service]) -> Defaults:
    """Those of a runtime (``domain.images``); ``load`` is Modelyard's own loader of the artifact."""
    match runtime:
        case "sklearn":
            return Defaults(
                model_fn=_missing("scikit-learn"),
                input_fn=_sklearn_input,
                predict_fn=_call_predict,
                output_fn=_output,
            )
        case "xgboost":
            return Defaults(
                model_fn=_missing("XGBoost"),
                input_fn=_xgboost_input,
                predict_fn=_xgboost_predict,
                output_fn=_output,
            )
        case "pytorch" | "huggingface":
            return Defaults(
                model_fn=_torch_model,
                input_fn=_torch_input,
                predict_fn=_torch_predict,
                output_fn=_output,
            )
    return Defaults(
        model_fn=lambda _: load(), input_fn=_rows, predict_fn=_predict_rows, output_fn=_output
    )


def encode_anything(value: Any) -> bytes:
    """What a script returned as a body: text and bytes as they are, anything else as JSON."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return _to_json(value)


# ---- answers


def _output(prediction: Any, accept: str) -> tuple[bytes, str]:
    """The first type of ``accept`` that can be written."""
    if hasattr(prediction, "detach"):  # A tensor.
        prediction = prediction.detach().cpu().numpy()
    for item in accept.split(","):
        kind = item.partition(";")[0].strip().lower()
        encode = _ENCODERS.get(JSON if kind in ("*/*", "application/*") else kind)
        if encode is not None:
            return encode(prediction), JSON if kind.endswith("/*") else kind
    raise Refusal(
        f"Accept {accept[:200]!r} is not supported by the default output_fn; use one of {', '.join(_ENCODERS)}.",
        status=406,
    )


def _to_json(value: Any) -> bytes:
    return json.dumps(value, default=_plain).encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: return text or bytes")


def _to_csv(value: Any) -> bytes:
    array = np.asarray(value)
    table = array.reshape(-1, 1) if array.ndim < 2 else array
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table.tolist())
    return buffer.getvalue().encode()


def _to_npy(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value), allow_pickle=False)
    return buffer.getvalue()


_ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    JSON: _to_json,
    CSV: _to_csv,
    NPY: _to_npy,
    recordio.CONTENT_TYPE: lambda value: recordio.encode(np.asarray(value)),
}


# ---- requests


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unsupported(content_type: str, known: str) -> Refusal:
    return Refusal(
        f"Content type {content_type[:100]!r} is not supported by the default input_fn; use one of {known}, or define "
        "input_fn.",
        status=415,
    )


def _decode(body: Any, content_type: str) -> Array:
    """JSON, CSV or npy as an array, with the types that it shows."""
    kind = _kind(content_type)
    try:
        if kind == JSON:
            return np.array(json.loads(body))
        if kind == CSV:
            rows = [row for row in csv.reader(io.StringIO(body), strict=True) if row]
            return np.array(rows)
        if kind == NPY:
            array = bodies.decode(bytes(body), NPY).array
            assert array is not None
            return array
    except bodies.BodyError as error:
        raise Refusal(error.message, status=error.status) from error
    except (ValueError, csv.Error) as error:
        raise Refusal(f"The body cannot be read as {kind}: {error}") from error
    raise _unsupported(content_type, f"{JSON}, {CSV}, {NPY}")


def _floats(array: Array) -> Array:
    try:
        return array.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise Refusal(f"The body does not hold numbers only: {error}") from error


def _sklearn_input(body: Any, content_type: str) -> Array:
    array = _decode(body, content_type)
    return _floats(array) if _kind(content_type) in (JSON, CSV) else array


def _call_predict(data: Any, model: Any) -> Any:
    return model.predict(data)


def _xgboost_input(body: Any, content_type: str) -> Any:
    import xgboost

    kind = _kind(content_type)
    if kind == CSV:
        return xgboost.DMatrix(_table(body))
    if kind == recordio.CONTENT_TYPE:
        return xgboost.DMatrix(_record_rows(body))
    if kind in LIBSVM:
        return _libsvm(body, xgboost)
    raise _unsupported(content_type, f"{CSV}, {', '.join(LIBSVM)}, {recordio.CONTENT_TYPE}")


def _table(body: Any) -> Array:
    """Numbers in lines, parted by whatever the first line is parted by; an empty cell is missing."""
    lines = [line for line in str(body).splitlines() if line.strip()]
    if not lines:
        raise Refusal("The body is empty.")
    try:
        found = csv.Sniffer().sniff(lines[0][:512]).delimiter
    except csv.Error:  # One number a line.
        found = ","
    delimiter = "," if found.isalnum() or found in ".-+" else found
    rows = [[cell.strip() or "nan" for cell in line.split(delimiter)] for line in lines]
    try:
        return np.array(rows).astype(np.float32)
    except ValueError as error:
        raise Refusal(f"The CSV does not hold numbers in rows of one width: {error}") from error


def _record_rows(body: bytes) -> Array:
    try:
        array = recordio.decode(body).array
    except bodies.BodyError as error:
        raise Refusal(error.message, status=error.status) from error
    assert array is not None
    return array


def _libsvm(body: Any, xgboost: Any) -> Any:
    """``label index:value …`` a line, from index 0; what a line does not name is missing. (XGBoost itself reads files only.)"""
    from scipy.sparse import csr_matrix

    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    values: list[float] = []
    places: list[int] = []
    ends = [0]
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.partition("#")[0].split()
        try:
            for cell in cells[1:]:
                place, _, value = cell.partition(":")
                if place != "qid":
                    places.append(int(place))
                    values.append(float(value))
        except ValueError as error:
            raise Refusal(f"Line {number} of the body is not LIBSVM: {error}") from error
        if cells:
            ends.append(len(values))
    if not values or min(places) < 0 or max(places) >= recordio.CELLS_LIMIT:
        raise Refusal("The body has no rows of index:value, or an index that no model has.")
    return xgboost.DMatrix(csr_matrix((np.array(values, np.float32), places, ends)))


def _xgboost_predict(data: Any, model: Any) -> Any:
    """A booster takes a ``DMatrix``; estimators of its scikit-learn API take arrays, which a script's own input_fn gives."""
    if type(model).__name__ == "Booster":
        return model.predict(data, validate_features=False)
    return model.predict(data)


def _torch_model(model_dir: str) -> Any:
    import torch

    folder = Path(model_dir)
    path = folder / "model.pt"
    if not path.is_file():
        files = sorted(one for one in folder.iterdir() if one.suffix in (".pt", ".pth"))
        if len(files) != 1:
            names = ", ".join(one.name for one in files) or "none"
            raise LoadError(
                "The default model_fn of PyTorch images needs model.pt or exactly one .pt or .pth file; the artifact "
                f"has {names}."
            )
        path = files[0]
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        text = str(error).strip().splitlines()[0]
        raise LoadError(
            f"{path.name} is not TorchScript ({text}): define model_fn(model_dir), which builds the network and loads its "
            "weights."
        ) from error


def _torch_input(body: Any, content_type: str) -> Any:
    import torch

    array = _decode(body, content_type)
    return torch.from_numpy(_floats(array) if _kind(content_type) in (JSON, CSV) else array)


def _torch_predict(data: Any, model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(data)


# ---- Modelyard's own images


def _rows(body: Any, content_type: str) -> Any:
    """An array, or named columns."""
    data = body.encode() if isinstance(body, str) else body
    try:
        batch = bodies.decode(data, content_type)
    except bodies.BodyError as error:
        raise Refusal(error.message, status=error.status) from error
    return dict(batch.columns) if batch.columns is not None else batch.array


def _predict_rows(data: Any, model: Any) -> Any:
    """With a model of Modelyard's loaders, or any other that has ``predict``."""
    if not hasattr(model, "row_wise"):
        return model.predict(data)
    batch = Batch(None, data) if isinstance(data, dict) else Batch(np.asarray(data))
    return model.predict(batch)


def _missing(image: str) -> Callable[[str], Any]:
    def model_fn(model_dir: str) -> Any:
        raise LoadError(NO_MODEL_FN.format(image))

    return model_fn
