"""The usual way: FastAPI, the model in the process, ``uvicorn servers.fastapi_app:app --workers 2``."""

import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
)
name = session.get_inputs()[0].name
app = FastAPI()


@app.get("/ready")
async def ready() -> dict[str, str]:
    return {}


@app.post("/predict")
def predict(body: dict[str, Any]) -> dict[str, Any]:
    rows = np.asarray(body["instances"], np.float32)
    return {"predictions": session.run(None, {name: rows})[0].tolist()}
