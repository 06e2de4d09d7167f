"""Texts, one a line, to labels, one a line."""

import os

import joblib
from cleaning import clean


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def input_fn(body, content_type):
    if content_type != "text/plain":
        raise ValueError("send text/plain, a text a line")
    return clean(body.decode().splitlines())


def output_fn(prediction, accept):
    return "".join(f"{one}\n" for one in prediction), "text/plain"
