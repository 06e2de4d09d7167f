"""Gradient boosting: what is not said here is as AWS's XGBoost container does it."""

import os

import xgboost


def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.json"))
    return booster
