"""What a data scientist writes with the SageMaker SDK 3.x; nothing in it knows of Modelyard."""

import json
import sys
from pathlib import Path

from botocore.exceptions import ClientError
from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, TransformJob
from sagemaker.core.shapes import (
    ContainerDefinition,
    ProductionVariant,
    TransformDataSource,
    TransformInput,
    TransformOutput,
    TransformResources,
    TransformS3DataSource,
)

archive, rows_file, role = sys.argv[1:]
session = Session()
bucket = session.default_bucket()
region = session.boto_region_name
rows = Path(rows_file).read_text()

# Upload, create, wait, ask.
uri = session.upload_data(archive, bucket=bucket, key_prefix="models/sdk-3")
image = image_uris.retrieve("xgboost", region, version="1.7-1")
model = Model.create(
    model_name="sdk-3",
    primary_container=ContainerDefinition(image=image, model_data_url=uri),
    execution_role_arn=role,
)
variant = ProductionVariant(
    variant_name="AllTraffic",
    model_name=model.model_name,
    initial_instance_count=1,
    instance_type="ml.m5.large",
)
config = EndpointConfig.create(endpoint_config_name="sdk-3", production_variants=[variant])
endpoint = Endpoint.create(endpoint_name="sdk-3", endpoint_config_name=config.endpoint_config_name)
endpoint.wait_for_status("InService", poll=1, timeout=250)
assert endpoint.endpoint_arn.endswith(":endpoint/sdk-3"), endpoint.endpoint_arn


def ask(name: str) -> list[float]:
    answer = Endpoint.get(endpoint_name=name).invoke(
        body=rows.encode(), content_type="text/csv", accept="application/json"
    )
    assert answer.content_type == "application/json", answer
    predictions: list[float] = json.loads(answer.body.read())["predictions"]
    return predictions


predictions = ask("sdk-3")
assert len(predictions) == len(rows.splitlines())

# What exists is found, listed and described; what does not is an error with its name.
assert "sdk-3" in [one.model_name for one in Model.get_all(name_contains="sdk-3")]
assert "sdk-3" in [one.endpoint_name for one in Endpoint.get_all(status_equals="InService")]
assert EndpointConfig.get("sdk-3").production_variants[0].variant_name == "AllTraffic"
try:
    Endpoint.get("nobody")
except ClientError as error:
    assert error.response["Error"]["Code"] == "ValidationException", error
else:
    raise AssertionError("an endpoint that does not exist was described")

# Another configuration takes over.
second = variant.model_copy(update={"variant_name": "Second"})
EndpointConfig.create(endpoint_config_name="sdk-3-b", production_variants=[second])
endpoint.endpoint_config_name = "sdk-3-b"
endpoint.update()
endpoint.wait_for_status("InService", poll=1, timeout=250)
assert endpoint.refresh().endpoint_config_name == "sdk-3-b"
assert ask("sdk-3") == predictions

# A batch job.
inputs = session.upload_data(rows_file, bucket=bucket, key_prefix="rows-3")
job = TransformJob.create(
    transform_job_name="sdk-3",
    model_name="sdk-3",
    batch_strategy="MultiRecord",
    transform_input=TransformInput(
        data_source=TransformDataSource(
            s3_data_source=TransformS3DataSource(s3_data_type="S3Prefix", s3_uri=inputs)
        ),
        content_type="text/csv",
        split_type="Line",
    ),
    transform_output=TransformOutput(
        s3_output_path=f"s3://{bucket}/scored-3", accept="text/csv", assemble_with="Line"
    ),
    transform_resources=TransformResources(instance_type="ml.m5.large", instance_count=1),
)
job.wait(poll=1, timeout=250)
assert job.refresh().transform_job_status == "Completed", job
scored = session.read_s3_file(bucket, "scored-3/rows.csv.out").split()
for one, other in zip(scored, predictions, strict=True):
    assert abs(float(one) - other) < 1e-6, (one, other)

endpoint.delete()
endpoint.wait_for_delete(poll=1, timeout=250)
for name in ("sdk-3", "sdk-3-b"):
    EndpointConfig.get(name).delete()
model.delete()
assert "sdk-3" not in [one.model_name for one in Model.get_all()]
print("SDK 3: deployed, predicted, updated, transformed, deleted")
