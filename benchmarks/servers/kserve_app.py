"""KServe's own server with a custom model: ``python kserve_app.py --http_port P --workers 2``."""

import os
from typing import Any

import kserve
import numpy as np
import onnxruntime


class Predictor(kserve.Model):
    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.feed = self.session.get_inputs()[0].name
        self.ready = True
        return True

    def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        rows = np.asarray(payload["instances"], np.float32)
        return {"predictions": self.session.run(None, {self.feed: rows})[0].tolist()}


if __name__ == "__main__":
    model = Predictor("m")
    model.load()
    kserve.ModelServer(workers=2).start([model])
