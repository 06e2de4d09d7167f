"""Spark on this machine's cores, with this machine's Java; the session is up before the clock starts."""

import glob
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from memory import highest_kib

os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
from pyspark.sql import SparkSession

model, rows, output = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.memory", "2g")
    .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20000")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    for batch in batches:
        scores = session.run(None, {feed: batch.to_numpy(np.float32)})[0]
        yield pd.DataFrame({"score": np.ravel(scores).astype(float)})


began = time.monotonic()
schema = ", ".join(f"f{place} double" for place in range(30))
scored = spark.read.csv(rows, schema=schema).mapInPandas(score, "score double")
scored.write.csv(output + ".d")
with open(output, "wb") as file:
    for part in sorted(glob.glob(output + ".d/part-*.csv")):
        with open(part, "rb") as piece:
            shutil.copyfileobj(piece, file)
seconds = time.monotonic() - began
shutil.rmtree(output + ".d")
peak = highest_kib(os.getpid())
spark.stop()
print(json.dumps({"seconds": seconds, "peak_kib": peak}))
