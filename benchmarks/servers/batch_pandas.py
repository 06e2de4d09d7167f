"""``pandas.read_csv`` in chunks, onnxruntime, one line a score: the script that most people write."""

import json
import resource
import sys
import time

began = time.monotonic()
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import pandas as pd  # noqa: E402

model, rows, output = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
with open(output, "w") as file:
    for chunk in pd.read_csv(rows, header=None, chunksize=50_000):
        scores = session.run(None, {name: chunk.to_numpy(np.float32)})[0]
        pd.DataFrame(scores).to_csv(file, header=False, index=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.monotonic() - began, "peak_kib": peak}))
