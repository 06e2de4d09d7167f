"""Models with an entry point, by the SageMaker SDK 2.x's classes; nothing in it knows of Modelyard."""

import sys

import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import CSVSerializer
from sagemaker.sklearn import SKLearnModel
from sagemaker.xgboost import XGBoostModel

archive, entry_point, role = sys.argv[1:]
session = sagemaker.Session()
data = session.upload_data(archive, bucket=session.default_bucket(), key_prefix="models/script")
same = {"model_data": data, "role": role, "entry_point": entry_point, "sagemaker_session": session}
models = {
    "from-a-script": SKLearnModel(framework_version="1.2-1", **same),
    "from-a-script-2": XGBoostModel(framework_version="1.7-1", **same),
    "from-a-script-3": PyTorchModel(framework_version="2.0.0", py_version="py310", **same),
}
predictors = {
    name: model.deploy(
        initial_instance_count=1, instance_type="ml.m5.large", endpoint_name=name, wait=False
    )
    for name, model in models.items()
}
waiter = session.sagemaker_client.get_waiter("endpoint_in_service")
for name, predictor in predictors.items():
    waiter.wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    if name == "from-a-script-2":  # Its own are LIBSVM and CSV; the others' are npy.
        predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
    found = predictor.predict([[1.0, 2.0], [10.0, 20.0]])
    assert [round(float(one), 3) for one in found] == [3.0, 30.0], (name, found)
    predictor.delete_model()
    predictor.delete_endpoint()
print("SDK: scripts were deployed, asked, deleted")
