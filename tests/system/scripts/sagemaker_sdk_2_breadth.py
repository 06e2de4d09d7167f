"""More of what is written with the SageMaker SDK 2.x: formats, updates, pipelines. Nothing in it knows of Modelyard."""

import sys
from pathlib import Path

import numpy as np
import sagemaker
from botocore.exceptions import ClientError
from sagemaker import image_uris
from sagemaker.base_deserializers import PandasDeserializer
from sagemaker.deserializers import (
    CSVDeserializer,
    JSONDeserializer,
    JSONLinesDeserializer,
    NumpyDeserializer,
    StringDeserializer,
)
from sagemaker.model import Model
from sagemaker.pipeline import PipelineModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import (
    CSVSerializer,
    IdentitySerializer,
    JSONLinesSerializer,
    JSONSerializer,
    NumpySerializer,
)

archive, rows_file, add_archive, times_archive, role = sys.argv[1:]
session = sagemaker.Session()
bucket = session.default_bucket()
rows = np.loadtxt(rows_file, delimiter=",")


def upload(path: str) -> str:
    return str(session.upload_data(path, bucket=bucket, key_prefix=f"breadth/{Path(path).stem}"))


# Every serialiser and deserialiser gives the same numbers.
model = Model(
    image_uri=image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1"),
    model_data=upload(archive),
    role=role,
    predictor_cls=Predictor,
    sagemaker_session=session,
    name="breadth",
)
predictor = model.deploy(
    1, "ml.m5.large", endpoint_name="breadth", wait=False, tags=[{"Key": "a", "Value": "b"}]
)
session.wait_for_endpoint("breadth", poll=1)
predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
expected = np.ravel(predictor.predict(rows)["predictions"])
assert len(expected) == len(rows)
instances = [row.tolist() for row in rows]
for serializer, deserializer, given in (
    (CSVSerializer(), CSVDeserializer(), rows),
    (CSVSerializer(), CSVDeserializer(), Path(rows_file).read_text()),
    (CSVSerializer(), NumpyDeserializer(), rows),
    (NumpySerializer(), NumpyDeserializer(), rows),
    (NumpySerializer(), JSONDeserializer(), rows),
    (JSONSerializer(), JSONDeserializer(), instances),
    (JSONSerializer(), StringDeserializer(accept="text/csv"), {"instances": instances}),
    (JSONLinesSerializer(), JSONLinesDeserializer(), instances),
    (
        IdentitySerializer(content_type="text/csv"),
        PandasDeserializer("text/csv"),
        Path(rows_file).read_bytes(),
    ),
):
    predictor.serializer, predictor.deserializer = serializer, deserializer
    answer = predictor.predict(given)
    label = (type(serializer).__name__, type(deserializer).__name__, str(answer)[:200])
    match answer:
        case {"predictions": numbers}:
            found = np.ravel(numbers)
        case str():
            found = np.array(answer.split(), float)
        case _ if type(deserializer) is PandasDeserializer:
            # pandas takes the first of the answer's lines for a heading.
            found = np.array([answer.columns[0], *answer.iloc[:, 0]], float)
        case [{"prediction": _}, *_]:
            found = np.ravel([line["prediction"] for line in answer])
        case _:
            found = np.ravel(np.array(answer, float))
    assert np.allclose(found, expected, rtol=1e-5), label

# An endpoint changes its instances, and refuses with the service's own error.
predictor.update_endpoint(initial_instance_count=2, instance_type="ml.m5.xlarge", wait=False)
session.wait_for_endpoint("breadth", poll=1)
described = session.sagemaker_client.describe_endpoint(EndpointName="breadth")
assert described["EndpointStatus"] == "InService", described
assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 2, described
predictor.serializer, predictor.deserializer = IdentitySerializer("text/csv"), JSONDeserializer()
try:
    predictor.predict("not,numbers")
except ClientError as error:
    assert error.response["Error"]["Code"] == "ModelError", error
    assert error.response["OriginalStatusCode"] == 400, error
else:
    raise AssertionError("text was taken for numbers")
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)

# Two models in a pipeline, asked and in a batch job.
stages = [
    Model("modelyard/onnx", upload(path), role, sagemaker_session=session)
    for path in (add_archive, times_archive)
]
pipeline = PipelineModel(
    stages, role, predictor_cls=Predictor, name="breadth-series", sagemaker_session=session
)
predictor = pipeline.deploy(1, "ml.m5.large", endpoint_name="breadth-series", wait=False)
session.wait_for_endpoint("breadth-series", poll=1)
predictor.serializer, predictor.deserializer = NumpySerializer(np.float32), NumpyDeserializer()
numbers = np.array([[1.0], [2.5], [-4.0]], np.float32)
assert np.allclose(np.ravel(predictor.predict(numbers)), [3.3, 7.8, -11.7]), predictor
transformer = pipeline.transformer(
    1,
    "ml.m5.large",
    output_path=f"s3://{bucket}/series-out",
    accept="text/csv",
    assemble_with="Line",
)
numbers_file = Path(rows_file).with_name("numbers.csv")
np.savetxt(numbers_file, numbers, fmt="%.2f")
transformer.transform(upload(str(numbers_file)), content_type="text/csv", split_type="Line")
scored = session.read_s3_file(bucket, "series-out/numbers.csv.out").split()
assert np.allclose(np.array(scored, float), [3.3, 7.8, -11.7]), scored
predictor.delete_predictor()
pipeline.delete_model()

left = session.sagemaker_client.list_models(NameContains="breadth")["Models"]
assert [one["ModelName"] for one in left] == [], left
print("SDK 2: every format, an update, a pipeline and its batch job")
