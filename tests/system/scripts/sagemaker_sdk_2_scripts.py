"""Models with a script through the framework classes of the SageMaker SDK 2.x. Nothing in it knows of Modelyard."""

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import sagemaker
from sagemaker.deserializers import JSONDeserializer, NumpyDeserializer
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import JSONSerializer, NumpySerializer
from sagemaker.sklearn import SKLearnModel
from sagemaker.xgboost import XGBoostModel

folder, sklearn_archive, booster_archive, role = Path(sys.argv[1]), *sys.argv[2:]
session = sagemaker.Session()
bucket = session.default_bucket()
rows = np.loadtxt(folder / "rows.csv", delimiter=",")


def upload(path: str | Path) -> str:
    return str(
        session.upload_data(str(path), bucket=bucket, key_prefix=f"scripts/{Path(path).name}")
    )


def served(model: object, name: str) -> object:
    predictor = model.deploy(1, "ml.m5.large", endpoint_name=name, wait=False)  # type: ignore[attr-defined]
    session.wait_for_endpoint(name, poll=1)
    return predictor


# scikit-learn: only model_fn; the container reads and writes numpy by itself.
(folder / "serve_sklearn.py").write_text(
    """
import os
import joblib

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""
)
model = SKLearnModel(
    upload(sklearn_archive), role, str(folder / "serve_sklearn.py"), framework_version="1.2-1",
    sagemaker_session=session,
)  # fmt: skip
predictor = served(model, "script-sklearn")
expected = np.load(folder / "sklearn.npy")
assert np.allclose(np.ravel(predictor.predict(rows)), expected), "sklearn"
predictor.delete_model()
predictor.delete_endpoint()

# XGBoost: a folder of sources with a module of its own, and hooks on both sides.
sources = folder / "sources"
sources.mkdir()
(sources / "doubling.py").write_text(
    "def twice(values):\n    return [2 * float(one) for one in values]\n"
)
(sources / "serve.py").write_text(
    """
import json, os
import numpy as np
import xgboost
from doubling import twice

def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.json"))
    return booster

def input_fn(body, content_type):
    assert content_type == "application/json", content_type
    return xgboost.DMatrix(np.array(json.loads(body)["rows"]))

def predict_fn(data, model):
    return model.predict(data)

def output_fn(prediction, accept):
    return json.dumps({"doubled": twice(prediction)}), "application/json"
"""
)
model = XGBoostModel(
    upload(booster_archive), role, "serve.py", framework_version="1.7-1", source_dir=str(sources),
    sagemaker_session=session,
)  # fmt: skip
predictor = served(model, "script-xgboost")
predictor.serializer, predictor.deserializer = JSONSerializer(), JSONDeserializer()
answer = predictor.predict({"rows": rows.tolist()})
assert np.allclose(answer["doubled"], 2 * np.load(folder / "booster.npy"), rtol=1e-5), answer
transformer = model.transformer(
    1,
    "ml.m5.large",
    output_path=f"s3://{bucket}/script-out",
    strategy="SingleRecord",
    assemble_with="Line",
)
lines = folder / "rows.jsonl"
lines.write_text("".join(json.dumps({"rows": [row.tolist()]}) + "\n" for row in rows[:5]))
transformer.transform(upload(lines), content_type="application/json", split_type="Line", logs=False)
scored = session.read_s3_file(bucket, "script-out/rows.jsonl.out").splitlines()
doubled = [json.loads(line)["doubled"][0] for line in scored]
assert np.allclose(doubled, answer["doubled"][:5], rtol=1e-5), scored
predictor.delete_model()
predictor.delete_endpoint()

# PyTorch: the SDK packs the script into the archive; transform_fn answers for itself.
(folder / "weights.npy").write_bytes(b"")
np.save(folder / "weights.npy", np.arange(rows.shape[1], dtype=np.float32))
with tarfile.open(folder / "weights.tar.gz", "w:gz") as archive:
    archive.add(folder / "weights.npy", "weights.npy")
(folder / "serve_torch.py").write_text(
    """
import io, os
import numpy as np

def model_fn(model_dir, context):
    return np.load(os.path.join(model_dir, "weights.npy"))

def transform_fn(model, body, content_type, accept, context):
    rows = np.load(io.BytesIO(body))
    out = io.BytesIO()
    np.save(out, rows @ model)
    return out.getvalue(), accept
"""
)
model = PyTorchModel(
    upload(folder / "weights.tar.gz"), role, str(folder / "serve_torch.py"), framework_version="2.1",
    py_version="py310", sagemaker_session=session,
)  # fmt: skip
predictor = served(model, "script-torch")
predictor.serializer, predictor.deserializer = NumpySerializer(), NumpyDeserializer()
assert np.allclose(predictor.predict(rows), rows @ np.arange(rows.shape[1])), "pytorch"
predictor.delete_model()
predictor.delete_endpoint()
print("SDK 2: scripts for scikit-learn, XGBoost and PyTorch")
