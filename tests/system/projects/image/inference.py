"""Portable graymaps, as bytes, to whether they are bright."""

import json
import os


def model_fn(model_dir):
    with open(os.path.join(model_dir, "threshold.json")) as file:
        return json.load(file)["threshold"]


def transform_fn(model, body, content_type, accept, context):
    kind, _width, _height, _brightest, pixels = body.split(None, 4)
    assert kind == b"P5" and content_type == "image/x-portable-graymap", content_type
    bright = sum(pixels) / len(pixels)
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "seen=1")
    return json.dumps({"bright": bright > model}), "application/json"
