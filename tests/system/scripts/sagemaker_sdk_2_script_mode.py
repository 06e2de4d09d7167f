"""A scikit-learn model with an entry point, by the SageMaker SDK 2.x; nothing in it knows of Modelyard."""

import sys

import sagemaker
from sagemaker.sklearn import SKLearnModel

archive, entry_point, role = sys.argv[1:]
session = sagemaker.Session()
data = session.upload_data(archive, bucket=session.default_bucket(), key_prefix="models/script")
model = SKLearnModel(
    model_data=data,
    role=role,
    entry_point=entry_point,
    framework_version="1.2-1",
    sagemaker_session=session,
)
predictor = model.deploy(
    initial_instance_count=1, instance_type="ml.m5.large", endpoint_name="from-a-script"
)
found = predictor.predict([[1.0, 2.0], [10.0, 20.0]])
assert [round(float(one), 3) for one in found] == [3.0, 30.0], found
predictor.delete_model()
predictor.delete_endpoint()
print("SDK: a script was deployed, asked, deleted")
