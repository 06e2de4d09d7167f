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

    def __getstate__(self) -> dict[str, Any]:
        """Each worker process gets a copy of the model, and loads a session of its own: one cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if name != "session"}

    def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        if not hasattr(self, "session"):
            self.load()
        rows = np.asarray(payload["instances"], np.float32)
        return {"predictions": self.session.run(None, {self.feed: rows})[0].tolist()}


if __name__ == "__main__":
    model = Predictor("m")
    model.load()
    kserve.ModelServer(workers=2).start([model])
