"""What a data scientist writes with the SageMaker SDK 2.x; nothing in it knows of Modelyard."""

import sys
from pathlib import Path

import sagemaker
from sagemaker import image_uris
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer, JSONSerializer

archive, rows_file, role = sys.argv[1:]
session = sagemaker.Session()
uri = session.upload_data(archive, bucket=session.default_bucket(), key_prefix="models/sdk")
image = image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1")
model = Model(
    image_uri=image, model_data=uri, role=role, predictor_cls=Predictor, sagemaker_session=session
)
predictor = model.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    endpoint_name="from-the-sdk",
    serializer=CSVSerializer(),
    deserializer=JSONDeserializer(),
)
rows = [
    [float(cell) for cell in line.split(",")] for line in Path(rows_file).read_text().splitlines()
]
as_csv = predictor.predict(rows)
predictor.serializer = JSONSerializer()
as_json = predictor.predict({"instances": rows})
assert as_csv == as_json, (as_csv, as_json)
assert len(as_csv["predictions"]) == len(rows)

transformer = model.transformer(
    instance_count=1,
    instance_type="ml.m5.large",
    output_path=f"s3://{session.default_bucket()}/scored",
    accept="text/csv",
    assemble_with="Line",
    strategy="MultiRecord",
)
inputs = session.upload_data(rows_file, bucket=session.default_bucket(), key_prefix="rows")
transformer.transform(inputs, content_type="text/csv", split_type="Line", wait=True, logs=False)
scored = session.read_s3_file(session.default_bucket(), "scored/rows.csv.out").split()
assert len(scored) == len(rows), scored
for one, other in zip(scored, as_csv["predictions"], strict=True):
    assert abs(float(one) - other) < 1e-6, (one, other)

predictor.delete_endpoint()
predictor.delete_model() if hasattr(predictor, "_model_names") and predictor._model_names else None
print("SDK: deployed, predicted, transformed, deleted")
