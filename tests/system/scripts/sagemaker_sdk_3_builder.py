"""A trained archive through the ModelBuilder of the SageMaker SDK 3.x; nothing in it knows of Modelyard."""

import json
import sys
from pathlib import Path

from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.training.configs import SourceCode
from sagemaker.serve.model_builder import ModelBuilder

archive, rows_file, role, sources_folder = sys.argv[1:]
session = Session()
bucket = session.default_bucket()
rows = Path(rows_file).read_bytes()
builder = ModelBuilder(
    image_uri=image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1"),
    s3_model_data_url=session.upload_data(archive, bucket=bucket, key_prefix="models/builder"),
    role_arn=role,
    sagemaker_session=session,
    instance_type="ml.m5.large",
)
model = builder.build(model_name="builder")
endpoint = builder.deploy(endpoint_name="builder", initial_instance_count=1, wait=False)
endpoint.wait_for_status("InService", poll=1, timeout=250)
answer = endpoint.invoke(body=rows, content_type="text/csv", accept="text/csv")
predictions = [float(line) for line in answer.body.read().split()]
assert len(predictions) == len(rows.split())

transformer = builder.transformer(
    instance_count=1,
    instance_type="ml.m5.large",
    output_path=f"s3://{bucket}/builder",
    accept="text/csv",
    assemble_with="Line",
    strategy="MultiRecord",
)
inputs = session.upload_data(rows_file, bucket=bucket, key_prefix="rows-builder")
transformer.transform(inputs, content_type="text/csv", split_type="Line", wait=True, logs=True)
scored = [float(one) for one in session.read_s3_file(bucket, "builder/rows.csv.out").split()]
assert scored == predictions, (scored, predictions)

endpoint.delete()
model.delete()

# The same archive with a script of one's own, which the builder packs into it.
sources = Path(sources_folder)
sources.mkdir()
(sources / "inference.py").write_text(
    """
import json, os
import numpy as np
import xgboost

def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.json"))
    return booster

def input_fn(body, content_type):
    return xgboost.DMatrix(np.array([line.split(",") for line in body.split()], float))

def predict_fn(data, model):
    return model.predict(data)

def output_fn(prediction, accept):
    return json.dumps({"scores": prediction.tolist()}), "application/json"
"""
)
builder = ModelBuilder(
    image_uri=builder.image_uri,
    s3_model_data_url=session.upload_data(archive, bucket=bucket, key_prefix="models/scripted"),
    source_code=SourceCode(source_dir=str(sources), entry_script="inference.py"),
    role_arn=role,
    sagemaker_session=session,
    instance_type="ml.m5.large",
)
model = builder.build(model_name="scripted")
endpoint = builder.deploy(endpoint_name="scripted", initial_instance_count=1, wait=False)
endpoint.wait_for_status("InService", poll=1, timeout=250)
answer = endpoint.invoke(body=rows, content_type="text/csv")
scores = json.loads(answer.body.read())["scores"]
for one, other in zip(scores, predictions, strict=True):
    assert abs(one - other) < 1e-3, (scores, predictions)
endpoint.delete()
model.delete()
print("ModelBuilder: built, deployed, asked, transformed, with a script too")
