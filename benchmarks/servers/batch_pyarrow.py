"""pyarrow's streaming CSV reader and onnxruntime, one after the other: what a careful script does."""

import json
import resource
import sys
import time

began = time.monotonic()
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import pyarrow as pa  # noqa: E402
from pyarrow import csv  # noqa: E402

model, rows, output = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
reader = csv.open_csv(
    rows,
    read_options=csv.ReadOptions(autogenerate_column_names=True, block_size=8 << 20),
)
with open(output, "wb") as file:
    for block in reader:
        columns = [column.to_numpy(zero_copy_only=False) for column in block.columns]
        table = np.stack(columns, axis=1).astype(np.float32)
        scores = np.ravel(session.run(None, {name: table})[0])
        lines = pa.table({"score": scores})
        csv.write_csv(lines, file, csv.WriteOptions(include_header=False))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.monotonic() - began, "peak_kib": peak}))
