"""What a data scientist writes with mlflow's deployment client for SageMaker; nothing in it knows of Modelyard."""

import json
import subprocess
import sys
import time
from pathlib import Path

import mlflow.sagemaker
import mlflow.sklearn
import numpy as np
from mlflow.deployments import get_deploy_client
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

folder, role, image = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
data = load_diabetes(as_frame=True)
rows = data.data[:5]
model, better = Ridge(alpha=1.0), Ridge(alpha=0.1)
for name, one in (("model", model), ("better", better)):
    one.fit(data.data, data.target)
    mlflow.sklearn.save_model(one, folder / name, pip_requirements=["scikit-learn"])


def command(*arguments: str) -> str:
    program = [sys.executable, "-m", "mlflow", "deployments", *arguments]
    finished = subprocess.run(program, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


where = ["-t", "sagemaker:/us-east-1", "--name", "mlflow"]
command("create", *where, "-m", str(folder / "model"), "-C", f"image_url={image}",
        "-C", f"execution_role_arn={role}", "-C", "timeout_seconds=150")  # fmt: skip
frame = folder / "rows.json"
frame.write_text(rows.to_json())
predicted = json.loads(command("predict", *where, "-I", str(frame)))
assert np.allclose(predicted["predictions"], model.predict(rows)), predicted

# The same client with the credentials of an assumed role.
client = get_deploy_client(f"sagemaker:/us-east-1/{role}")
config = {
    "image_url": image,
    "execution_role_arn": role,
    "mode": "replace",
    "synchronous": False,
    "archive": True,  # without it mlflow deletes what was, once it has seen the update end
}
client.update_deployment("mlflow", str(folder / "better"), config=config)
while client.get_deployment("mlflow")["EndpointStatus"] == "Updating":
    time.sleep(0.2)
assert client.get_deployment("mlflow")["EndpointStatus"] == "InService"
assert "mlflow" in [one["EndpointName"] for one in client.list_deployments()]
answer = client.predict("mlflow", rows)
assert np.allclose(answer["predictions"], better.predict(rows)), answer

command("delete", *where, "-C", "synchronous=False", "-C", "archive=True")
print("mlflow: created, predicted, updated, deleted")
