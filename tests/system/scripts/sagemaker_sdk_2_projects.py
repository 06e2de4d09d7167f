"""A booster, texts, images and a network by the models of the SageMaker SDK 2.x. Nothing in it knows of Modelyard."""

import json
import sys
from pathlib import Path

import numpy as np
import sagemaker
from sagemaker.base_deserializers import StringDeserializer
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import CSVSerializer, IdentitySerializer
from sagemaker.sklearn import SKLearnModel
from sagemaker.xgboost import XGBoostModel

folder, sources, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
session = sagemaker.Session()
bucket = session.default_bucket()
GRAYMAP = "image/x-portable-graymap"


def upload(path: Path) -> str:
    prefix = f"projects/{path.parent.name}/{path.name}"
    return str(session.upload_data(str(path), bucket=bucket, key_prefix=prefix))


def given(project: str) -> dict[str, object]:
    return {
        "model_data": upload(folder / project / "model.tar.gz"),
        "role": role,
        "entry_point": "inference.py",
        "source_dir": str(sources / project),
        "sagemaker_session": session,
    }


def body(project: str) -> bytes:
    return (folder / project / "body").read_bytes()


def expected(project: str) -> object:
    return json.loads((folder / project / "expected.json").read_text())


models = {
    "booster": XGBoostModel(framework_version="1.7-1", **given("booster")),
    "text": SKLearnModel(framework_version="1.2-1", **given("text")),
    "image": Model("modelyard/python", predictor_cls=Predictor, **given("image")),
    "deep": PyTorchModel(framework_version="2.1", py_version="py310", **given("deep")),
}
predictors = {
    name: model.deploy(1, "ml.m5.large", endpoint_name=f"sdk-2-{name}", wait=False)
    for name, model in models.items()
}
for predictor in predictors.values():
    session.wait_for_endpoint(predictor.endpoint_name, poll=1)

# Asked: the framework's own serialisers where the container has them, the project's where it says.
rows = {name: np.loadtxt(folder / name / "body", delimiter=",") for name in ("booster", "deep")}
predictors["booster"].serializer = CSVSerializer()
predictors["booster"].deserializer = JSONDeserializer()
predictors["text"].serializer = IdentitySerializer("text/plain")
predictors["text"].deserializer = StringDeserializer(accept="text/plain")
predictors["image"].serializer = IdentitySerializer(GRAYMAP)
predictors["image"].deserializer = JSONDeserializer()
found = predictors["booster"].predict(rows["booster"])
assert np.allclose(found, expected("booster"), rtol=1e-5), found
found = predictors["deep"].predict(rows["deep"].astype(np.float32))
assert np.allclose(found, expected("deep"), rtol=1e-5), found
found = predictors["text"].predict(body("text"))
assert found.split() == expected("text"), found
found = predictors["image"].predict(body("image"))
assert found == expected("image"), found

# Scored: four jobs at once.
jobs = {
    "booster": {"content_type": "text/csv", "split_type": "Line"},
    "text": {"content_type": "text/plain", "split_type": "Line"},
    "image": {"content_type": GRAYMAP},
    "deep": {"content_type": "text/csv", "split_type": "Line"},
}
transformers = {}
for name, options in jobs.items():
    transformers[name] = models[name].transformer(
        1,
        "ml.m5.large",
        output_path=f"s3://{bucket}/sdk-2-{name}",
        accept="application/json" if name == "image" else options["content_type"],
    )
    transformers[name].transform(upload(folder / name / "body"), wait=False, **options)
scored = {}
for name, transformer in transformers.items():
    session.wait_for_transform_job(transformer.latest_transform_job.name, poll=1)
    scored[name] = session.read_s3_file(bucket, f"sdk-2-{name}/body.out")
assert np.allclose([float(one) for one in scored["booster"].split()], expected("booster"))
assert np.allclose(
    [[float(cell) for cell in line.split(",")] for line in scored["deep"].split()],
    expected("deep"),
)
assert scored["text"].split() == expected("text"), scored["text"]
assert json.loads(scored["image"]) == expected("image"), scored["image"]

client = session.sagemaker_client
for name, predictor in predictors.items():
    predictor.delete_model()
    predictor.delete_endpoint()
    transformers[name].delete_model()  # The SDK makes one more for a job.
for name in predictors:
    client.get_waiter("endpoint_deleted").wait(
        EndpointName=f"sdk-2-{name}", WaiterConfig={"Delay": 1, "MaxAttempts": 150}
    )
assert client.list_endpoint_configs(NameContains="sdk-2-")["EndpointConfigs"] == []
left = {one["ModelName"] for one in client.list_models(MaxResults=100)["Models"]}
assert not left & {one.model_name for one in transformers.values()}, left
print("SDK 2: four projects, from script to endpoint, batch job and end")
