"""A flask application that loads its model once in each worker and scores CSV."""

import os

import flask

prefix = "/opt/ml/"
model_path = os.path.join(prefix, "model")


class ScoringService:
    model = None

    @classmethod
    def get_model(cls):
        if cls.model is None:
            with open(os.path.join(model_path, "factor.txt")) as inp:
                cls.model = float(inp.read())
        return cls.model


app = flask.Flask(__name__)


@app.route("/ping", methods=["GET"])
def ping():
    health = ScoringService.get_model() is not None
    status = 200 if health else 404
    return flask.Response(response="\n", status=status, mimetype="application/json")


@app.route("/invocations", methods=["POST"])
def transformation():
    if flask.request.content_type != "text/csv":
        return flask.Response(
            response="This predictor only supports CSV data", status=415, mimetype="text/plain"
        )
    data = flask.request.data.decode("utf-8")
    factor = ScoringService.get_model()
    result = "".join(f"{float(line) * factor}\n" for line in data.split())
    return flask.Response(response=result, status=200, mimetype="text/csv")
