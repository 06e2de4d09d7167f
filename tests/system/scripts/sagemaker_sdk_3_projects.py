"""A booster, texts, images and a network by the ModelBuilder of the SageMaker SDK 3.x. Nothing in it knows of Modelyard."""

import json
import sys
from pathlib import Path

import numpy as np
from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import EndpointConfig, Model
from sagemaker.core.training.configs import SourceCode
from sagemaker.serve.model_builder import ModelBuilder

folder, sources, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
session = Session()
bucket, region = session.default_bucket(), session.boto_region_name
GRAYMAP = "image/x-portable-graymap"
IMAGES = {
    "booster": image_uris.retrieve("xgboost", region, version="1.7-1"),
    "text": image_uris.retrieve("sklearn", region, version="1.2-1"),
    "image": "modelyard/python",
    "deep": image_uris.retrieve(
        "pytorch",
        region,
        version="2.1",
        py_version="py310",
        image_scope="inference",
        instance_type="ml.m5.large",
    ),
}
TYPES = {"booster": "text/csv", "text": "text/plain", "image": GRAYMAP, "deep": "text/csv"}


def upload(path: Path) -> str:
    prefix = f"projects-3/{path.parent.name}/{path.name}"
    return str(session.upload_data(str(path), bucket=bucket, key_prefix=prefix))


def check(name: str, answer: str) -> None:
    """Whether JSON, or lines of what the project answers, say what its author saw."""
    expected = json.loads((folder / name / "expected.json").read_text())
    if name in {"text", "image"}:
        found = answer.split() if name == "text" else json.loads(answer)
        assert found == expected, (name, answer)
    else:
        found = [[float(cell) for cell in line.split(",")] for line in answer.split()]
        assert np.allclose(np.ravel(found), np.ravel(expected), rtol=1e-5), (name, answer)


builders, models, endpoints = {}, {}, {}
for name, image in IMAGES.items():
    builder = ModelBuilder(
        image_uri=image,
        s3_model_data_url=upload(folder / name / "model.tar.gz"),
        source_code=SourceCode(source_dir=str(sources / name), entry_script="inference.py"),
        role_arn=role,
        sagemaker_session=session,
        instance_type="ml.m5.large",
    )
    models[name] = builder.build(model_name=f"sdk-3-{name}")
    endpoints[name] = builder.deploy(
        endpoint_name=f"sdk-3-{name}", initial_instance_count=1, wait=False
    )
    builders[name] = builder

for name, endpoint in endpoints.items():
    endpoint.wait_for_status("InService", poll=1, timeout=250)
    accept = "application/json" if name == "image" else TYPES[name]
    answer = endpoint.invoke(
        body=(folder / name / "body").read_bytes(), content_type=TYPES[name], accept=accept
    )
    check(name, answer.body.read().decode())

transformers = {}
for name, builder in builders.items():
    transformers[name] = builder.transformer(
        1,
        "ml.m5.large",
        output_path=f"s3://{bucket}/sdk-3-{name}",
        accept="application/json" if name == "image" else TYPES[name],
    )
    transformers[name].transform(
        upload(folder / name / "body"),
        content_type=TYPES[name],
        split_type=None if name == "image" else "Line",
        wait=False,
    )
for name, transformer in transformers.items():
    transformer.wait(logs=False)
    check(name, session.read_s3_file(bucket, f"sdk-3-{name}/body.out"))

for name, endpoint in endpoints.items():
    endpoint.delete()
    EndpointConfig.get(f"sdk-3-{name}").delete()
    models[name].delete()
for endpoint in endpoints.values():
    endpoint.wait_for_delete(poll=1, timeout=250)
assert [one.model_name for one in Model.get_all(name_contains="sdk-3-")] == []
print("SDK 3: four projects, from script to endpoint, batch job and end")
