"""Ray Data on this machine's cores; the cluster is up before the clock starts."""

import glob
import json
import os
import shutil
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import ray
from memory import highest_kib

model, rows, output = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False


class Score:
    def __init__(self) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.feed = self.session.get_inputs()[0].name

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        table = np.stack(list(batch.values()), axis=1).astype(np.float32)
        return {"score": np.ravel(self.session.run(None, {self.feed: table})[0])}


began = time.monotonic()
names = [f"f{place}" for place in range(30)]
from pyarrow import csv  # noqa: E402

data = ray.data.read_csv(rows, read_options=csv.ReadOptions(column_names=names))
ray.data.DataContext.get_current().execution_options.preserve_order = True
# Half a processor each: two whole ones would leave none for whoever reads.
scored = data.map_batches(Score, batch_size=20_000, concurrency=2, num_cpus=0.5)
scored.write_csv(output + ".d")
with open(output, "wb") as file:
    for part in sorted(glob.glob(output + ".d/*.csv")):
        pd.read_csv(part).to_csv(file, header=False, index=False)
seconds = time.monotonic() - began
shutil.rmtree(output + ".d")
peak = highest_kib(os.getpid())
print(json.dumps({"seconds": seconds, "peak_kib": peak}))
