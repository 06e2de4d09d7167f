"""Scripts: which one is run, how its functions are called, and what a caller and an owner are told when it fails."""

import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.frameworks import script
from modelyard.frameworks.model import LoadError
from modelyard.frameworks.script import find_program, load_script, prepare_process, status_of
from modelyard.frameworks.script_defaults import defaults_of
from modelyard.frameworks.service import Ask, Refusal, Reply
from modelyard.testing import models

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    """Scripts put folders on the path and themselves among the modules."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("inference", "serve", "beside"):
            del sys.modules[name]


def loaded(
    folder: Path, source: str, runtime: str = "sklearn", **environment: str
) -> script.Script:
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "inference.py").write_text(source)
    found = find_program(folder, None, environment)
    assert found is not None

    def built_in() -> Any:
        from modelyard.frameworks import formats

        return formats.load(folder, runtime=runtime, environment={})

    return load_script(
        found, defaults=defaults_of(runtime, built_in), environment=environment, model_dir=folder
    )


def asked(service: script.Script, body: bytes, **more: str) -> Reply:
    return service.answer(Ask(body=body, **more))


MEAN = """
class Mean:
    def predict(self, rows):
        return rows.mean(axis=1)
def model_fn(model_dir):
    return Mean()
"""


# ---- which script


def test_the_folder_code_is_where_a_script_lies(tmp_path: Path) -> None:
    assert find_program(tmp_path, None, {}) is None
    (tmp_path / "inference.py").touch()
    assert find_program(tmp_path, None, {}) is None, "a model may hold any file of any name"
    (tmp_path / "code" / "lib").mkdir(parents=True)
    (tmp_path / "code" / "inference.py").touch()
    found = find_program(tmp_path, None, {"SAGEMAKER_PROGRAM": ""})
    assert found is not None
    assert found.program == tmp_path / "code" / "inference.py"
    assert found.folders == (tmp_path / "code", tmp_path / "code" / "lib")


def test_the_submitted_archive_comes_first_and_names_may_have_folders(tmp_path: Path) -> None:
    model, code = tmp_path / "model", tmp_path / "code"
    for folder in (model / "code", code / "src"):
        folder.mkdir(parents=True)
        (folder / "serve.py").touch()
    named = {"SAGEMAKER_PROGRAM": "src/serve.py"}
    found = find_program(model, code, named)
    assert found is not None and found.program == code / "src" / "serve.py"
    assert found.folders == (code / "src", code)
    fallback = find_program(model, code, {"SAGEMAKER_PROGRAM": "serve"})
    assert fallback is not None and fallback.program == model / "code" / "serve.py"


@pytest.mark.parametrize("name", ["missing.py", "../code/inference.py", "/etc/passwd.py"])
def test_a_program_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match="SAGEMAKER_PROGRAM"):
        find_program(tmp_path, None, {"SAGEMAKER_PROGRAM": name})


# ---- how functions are called


def test_defaults_answer_a_bare_array_as_awss_containers(tmp_path: Path) -> None:
    service = loaded(tmp_path, MEAN)
    as_json = asked(service, b"[[1, 2], [3, 5]]", content_type="application/json")
    assert (as_json.body, as_json.content_type) == (b"[1.5, 4.0]", "application/json")
    as_csv = asked(
        service, b"1,2\n3,5\n", content_type="text/csv; charset=utf-8", accept="text/csv"
    )
    assert (as_csv.body, as_csv.content_type) == (b"1.5\n4.0\n", "text/csv")
    one = asked(service, b"1,2", content_type="text/csv", accept="*/*")
    assert one.body == b"[1.5]"


def test_every_function_and_hook_is_called_in_order(tmp_path: Path) -> None:
    source = """
seen = []
def pre_model_fn(model_dir): seen.append("pre")
def model_fn(model_dir, context): seen.append(("model", context.system_properties["model_dir"] == model_dir)); return 2
def model_warmup_fn(model_dir, model): seen.append(("warm", model))
def input_fn(body, content_type): seen.append(type(body).__name__); return float(body)
def predict_fn(data, model, context): seen.append(context.get_request_header(0, "accept")); return data * model
def output_fn(prediction, accept): return (f"<{prediction}>", "text/x-own")
"""
    service = loaded(tmp_path, source)
    reply = asked(service, b"3", content_type="text/csv", accept="text/html")
    assert (reply.body, reply.content_type) == (b"<6.0>", "text/x-own")
    asked(service, b"4", content_type="text/plain")
    seen = sys.modules["inference"].seen
    assert seen == ["pre", ("model", True), ("warm", 2), "str", "text/html", "bytes", None]


def test_transform_fn_does_all_and_may_set_what_the_answer_says(tmp_path: Path) -> None:
    source = """
def model_fn(d): return 1
def transform_fn(model, body, content_type, accept, context):
    context.set_response_content_type(0, "text/x-own")
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "b")
    context.set_response_status(429, "slow down")
    context.metrics.add_time("t", 1)
    return {"a": context.request_processor[0].get_request_property("x-amzn-sagemaker-custom-attributes")}
"""
    reply = asked(
        loaded(tmp_path, source), b"\xff", content_type="image/png", custom_attributes="a"
    )
    assert (json.loads(reply.body), reply.content_type) == ({"a": "a"}, "text/x-own")
    assert (reply.status, reply.custom_attributes) == (429, "b")


def test_the_environment_says_what_is_accepted_and_how_long_it_takes(tmp_path: Path) -> None:
    more = {
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "7",
    }
    service = loaded(tmp_path, MEAN, **more)
    assert asked(service, b"1,3", content_type="text/csv").body == b"2.0\n"
    assert service.seconds == 7
    with pytest.raises(LoadError, match="not a number"):
        loaded(tmp_path, MEAN, SAGEMAKER_MODEL_SERVER_TIMEOUT="soon")


def test_a_base_folder_elsewhere_is_said_to_be_without_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    prepare_process({"SAGEMAKER_BASE_DIR": "/srv"}, tmp_path)
    assert f"the model is at {tmp_path}" in capsys.readouterr().out
    prepare_process({"SAGEMAKER_BASE_DIR": str(tmp_path.parent)}, tmp_path.parent)
    (tmp_path / "model").mkdir()
    capsys.readouterr()
    prepare_process({"SAGEMAKER_BASE_DIR": str(tmp_path)}, tmp_path / "model")
    assert capsys.readouterr().out == ""


def test_a_flask_response_of_older_containers_is_taken(tmp_path: Path) -> None:
    source = (
        MEAN
        + """
class Response:
    mimetype, status_code = "text/csv", 200
    def get_data(self): return b"1,2"
def output_fn(prediction, accept): return Response()
"""
    )
    reply = asked(loaded(tmp_path, source), b"[[1]]")
    assert (reply.body, reply.content_type) == (b"1,2", "text/csv")


def test_modules_beside_the_script_and_in_lib_are_found(tmp_path: Path) -> None:
    (tmp_path / "code" / "lib").mkdir(parents=True)
    (tmp_path / "code" / "lib" / "beside.py").write_text("VALUE = 5\n")
    source = "import beside\ndef model_fn(d): return beside.VALUE\ndef predict_fn(data, model): return model\n"
    assert asked(loaded(tmp_path, source), b"[1]").body == b"5"


def test_modelyards_own_images_load_and_predict_by_themselves(tmp_path: Path) -> None:
    models.joblib_model(tmp_path)
    rows = models.breast_cancer().rows[:3]
    service = loaded(
        tmp_path, "def output_fn(p, accept): return f'{len(p)} rows', 'text/plain'\n", "auto"
    )
    assert asked(service, json.dumps(rows.tolist()).encode()).body == b"3 rows"


def test_xgboost_reads_tables_libsvm_and_recordio_but_no_json(tmp_path: Path) -> None:
    from modelyard.frameworks import recordio

    models.xgboost_model(tmp_path, name="model.ubj")
    source = "import os, xgboost\ndef model_fn(d):\n    return xgboost.Booster(model_file=os.path.join(d, 'model.ubj'))\n"
    service = loaded(tmp_path, source, "xgboost")
    rows = models.breast_cancer().rows[:2].astype(np.float32)
    lines = "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode()
    expected = json.loads(asked(service, lines, content_type="text/csv").body)
    assert len(expected) == 2
    sparse = "\n".join(
        "0 " + " ".join(f"{at}:{cell}" for at, cell in enumerate(row)) for row in rows.tolist()
    )
    assert json.loads(asked(service, sparse.encode(), content_type="text/libsvm").body) == expected
    binary = recordio.encode_features(rows)
    found = asked(service, binary, content_type=recordio.CONTENT_TYPE).body
    np.testing.assert_allclose(json.loads(found), expected, rtol=1e-6)
    with pytest.raises(Refusal, match="not supported") as refused:
        asked(service, b"[[1]]", content_type="application/json")
    assert refused.value.status == 415


# ---- several at a time


BATCHED = """
calls = []
def model_fn(d): return 10
def input_fn(body, content_type):
    return float(body)
def predict_fn(data, model):
    calls.append(list(data))
    if 13.0 in data: raise ValueError("thirteen")
    return [one * model for one in data] if 0.5 not in data else [1]
def output_fn(prediction, accept):
    return str(prediction), "text/plain"
"""


def test_a_script_that_asks_for_batches_gets_lists(tmp_path: Path) -> None:
    service = loaded(tmp_path, BATCHED, MODELYARD_MAX_BATCH="4")
    assert service.max_batch == 4
    found = service.answer_together([Ask(body=b"1"), Ask(body=b"no"), Ask(body=b"3")])
    assert [one.body if isinstance(one, Reply) else type(one) for one in found] == [
        b"10.0", ValueError, b"30.0",
    ]  # fmt: skip
    assert sys.modules["inference"].calls == [[1.0, 3.0]]
    with pytest.raises(TypeError, match="did not return as many"):
        service.answer_together([Ask(body=b"0.5"), Ask(body=b"2")])


@pytest.mark.parametrize("size", ["0", "257", "many", "-1"])
def test_a_batch_of_an_impossible_size_is_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(LoadError, match="MODELYARD_MAX_BATCH"):
        loaded(tmp_path, BATCHED, MODELYARD_MAX_BATCH=size)


def test_batches_need_a_predict_fn_of_the_scripts_own(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="needs a predict_fn"):
        loaded(tmp_path, MEAN, MODELYARD_MAX_BATCH="2")


# ---- what fails


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere\n", r"inference\.py cannot be imported: ModuleNotFoundError.*requirements\.txt"),
        ("def model_fn(:\n", r"cannot be imported: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "cannot be imported: SystemExit: 3"),
        ("def model_fn(d):\n    return 1 / 0\n", r"could not load the model: ZeroDivisionError.*line 2"),
        ("def predict_fn(data, model): ...\n", "no model_fn, and the scikit-learn image"),
        (MEAN + "def predict_fn(a): ...\n", r"predict_fn of inference\.py takes 1 arguments; it is called with \(data"),
        (MEAN + "def output_fn(a, b, c, d): ...\n", "output_fn of inference.py takes 4"),
        (MEAN + "def transform_fn(*a): ...\ndef input_fn(*a): ...\n", "excludes input_fn"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_loaded_says_why(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        loaded(tmp_path, source)


def test_functions_may_take_any_arguments_or_have_defaults(tmp_path: Path) -> None:
    source = (
        MEAN
        + "def predict_fn(*a): return len(a)\ndef output_fn(p, accept=None, more=1, rest=2): return str(p)\n"
    )
    assert asked(loaded(tmp_path, source), b"[[1]]").body == b"2"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"a,b", "text/csv", 400),
        (b"\xff", "text/csv", 400),
        (b"not npy", "application/x-npy", 400),
        (b"x", "image/png", 415),
    ],
)
def test_a_body_that_cannot_be_read_is_its_callers(
    tmp_path: Path, body: bytes, content_type: str, status: int
) -> None:
    with pytest.raises(Refusal) as refused:
        asked(loaded(tmp_path, MEAN), body, content_type=content_type)
    assert refused.value.status == status


def test_what_is_accepted_has_to_be_something_that_can_be_written(tmp_path: Path) -> None:
    service = loaded(tmp_path, MEAN)
    listed = asked(service, b"[[1]]", accept="text/html, text/csv;q=0.5")
    assert listed.content_type == "text/csv"
    with pytest.raises(Refusal) as refused:
        asked(service, b"[[1]]", accept="image/png")
    assert refused.value.status == 406


def test_errors_of_toolkits_carry_their_status() -> None:
    class ToolkitError(Exception):
        status_code = 422

    class Odd(Exception):
        code = 7

    assert (status_of(ToolkitError()), status_of(Odd()), status_of(ValueError())) == (422, 500, 500)


def test_the_process_is_what_a_container_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    level = logging.getLogger().level
    variables = {
        "OWN": "1",
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "10",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "4",
    }
    try:
        script.prepare_process(variables, tmp_path)
        assert logging.getLogger().level == logging.DEBUG
    finally:
        logging.getLogger().setLevel(level)
    assert (os.environ["OWN"], os.environ["SM_MODEL_DIR"]) == ("1", str(tmp_path))
    assert Path.cwd() == tmp_path
    assert "one process" in capsys.readouterr().out
