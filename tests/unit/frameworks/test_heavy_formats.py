"""Loaders of the heavy frameworks. Each test needs its own; tests/system/test_heavy_frameworks.py runs them where all are."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.frameworks import formats
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import BadInput, LoadError, Model
from modelyard.frameworks.service import Ask, Refusal, Service
from modelyard.testing import heavy_models
from modelyard.testing.models import breast_cancer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning",
                                        "ignore::UserWarning")  # fmt: skip
ROWS = breast_cancer().rows[:7]


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is in the environment of make clients")


def loaded(folder: Path, runtime: str = "auto", **environment: str) -> Any:
    return formats.load(folder, runtime=runtime, environment=environment)


def predicted(model: Model, rows: Any) -> Any:
    return model.predict(Batch(np.asarray(rows)))


@pytest.mark.parametrize(
    ("files", "package", "extra"),
    [
        (["model.pt"], "torch", "torch"),
        (["model.cbm"], "catboost", "catboost"),
        (["MLmodel", "model.pkl"], "mlflow", "mlflow"),
        (["config.json", "model.safetensors", "vocab.txt"], "torch", "transformers"),
    ],
)
def test_what_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in files:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(
        LoadError, match=rf"needs {package}, which.*pip install 'modelyard\[{extra}\]'"
    ):
        loaded(tmp_path)


@pytest.mark.parametrize("name", ["model.pt", "net.pth"])
def test_torchscript_answers_as_the_network_does(tmp_path: Path, name: str) -> None:
    needs("torch")
    heavy_models.torchscript_model(tmp_path, name=name)
    expected = heavy_models.expected_of(heavy_models.network(), ROWS)
    for runtime in ("auto", "pytorch"):
        np.testing.assert_allclose(predicted(loaded(tmp_path, runtime), ROWS), expected, rtol=1e-6)


def test_an_exported_program_takes_any_number_of_rows(tmp_path: Path) -> None:
    needs("torch")
    heavy_models.exported_model(tmp_path)
    model = loaded(tmp_path, "pytorch")
    for count in (1, 2, 7):
        expected = heavy_models.expected_of(heavy_models.network(), ROWS[:count])
        np.testing.assert_allclose(predicted(model, ROWS[:count]), expected, rtol=1e-6)


def test_weights_without_a_program_ask_for_a_script(tmp_path: Path) -> None:
    needs("torch")
    heavy_models.weights(tmp_path)
    with pytest.raises(LoadError, match=r"no program.*code/inference\.py whose model_fn"):
        loaded(tmp_path, "pytorch")


def test_a_damaged_torch_file_is_refused(tmp_path: Path) -> None:
    needs("torch")
    path = heavy_models.torchscript_model(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(LoadError, match=r"model\.pt"):
        loaded(tmp_path)


def test_texts_are_no_input_for_a_network(tmp_path: Path) -> None:
    needs("torch")
    heavy_models.torchscript_model(tmp_path)
    with pytest.raises(BadInput, match="takes numbers"):
        loaded(tmp_path).predict(Batch(np.array([["a"] * 30], dtype=object)))


@pytest.mark.parametrize("output", ["", "Probability", "RawFormulaVal"])
def test_catboost_answers_as_in_its_own_process(tmp_path: Path, output: str) -> None:
    needs("catboost")
    import catboost

    path = heavy_models.catboost_model(tmp_path)
    own = catboost.CatBoostClassifier()
    own.load_model(str(path))
    expected = own.predict(ROWS, prediction_type=output or "Class")
    environment = {"MODELYARD_OUTPUT": output} if output else {}
    for runtime in ("auto", "catboost"):
        found = predicted(loaded(tmp_path, runtime, **environment), ROWS)
        np.testing.assert_allclose(found, np.asarray(expected).reshape(found.shape))


def test_catboost_says_how_many_values_it_takes(tmp_path: Path) -> None:
    needs("catboost")
    heavy_models.catboost_model(tmp_path)
    with pytest.raises(BadInput, match="takes 30 values a row, 3 came"):
        predicted(loaded(tmp_path), [[1.0, 2.0, 3.0]])
    (tmp_path / "model.cbm").write_bytes(b"not at all")
    with pytest.raises(LoadError, match=r"model\.cbm is not a model that CatBoost reads"):
        loaded(tmp_path)


def test_an_mlflow_folder_answers_by_position_and_by_name(tmp_path: Path) -> None:
    needs("mlflow", "pandas", "sklearn")
    import mlflow.sklearn
    import pandas

    folder = heavy_models.mlflow_folder(tmp_path / "model")
    model = loaded(folder, "mlflow")
    by_position = predicted(model, ROWS[:, :4])
    names = ["area", "radius", "perimeter", "texture"]
    places = [3, 0, 2, 1]
    columns = {name: ROWS[:, at] for name, at in zip(names, places, strict=True)}
    own = mlflow.sklearn.load_model(str(folder)).predict(
        pandas.DataFrame(ROWS[:, :4], columns=["radius", "texture", "perimeter", "area"])
    )
    np.testing.assert_array_equal(by_position, own)
    np.testing.assert_array_equal(model.predict(Batch(None, columns)), by_position)
    assert not model.row_wise
    with pytest.raises(BadInput, match="lack radius"):
        model.predict(Batch(None, {"texture": ROWS[:, 0]}))


def test_an_mlflow_folder_is_known_among_its_files(tmp_path: Path) -> None:
    needs("mlflow", "pandas", "sklearn")
    heavy_models.mlflow_folder(tmp_path / "model")
    assert type(loaded(tmp_path)).__name__ == "MlflowModel"


def test_a_hugging_face_folder_answers_as_its_pipeline(tmp_path: Path) -> None:
    needs("transformers", "torch")
    folder = heavy_models.huggingface_folder(tmp_path / "model")
    service = loaded(folder, "huggingface")
    assert isinstance(service, Service)
    body = json.dumps(
        {"inputs": ["the plot was great", "bad"], "parameters": {"top_k": 1}}
    ).encode()
    found = json.loads(service.answer(Ask(body=body, content_type="application/json")).body)
    labels = [one[0]["label"] if isinstance(one, list) else one["label"] for one in found]
    assert len(labels) == 2 and set(labels) <= {"NEGATIVE", "POSITIVE"}
    as_csv = service.answer(
        Ask(body=b"inputs\nthe plot was great\nbad\n", content_type="text/csv", accept="text/csv")
    )
    assert as_csv.body.decode().splitlines()[0] == "label,score"
    with pytest.raises(Refusal, match="not supported"):
        service.answer(Ask(body=b"x", content_type="image/png"))
    with pytest.raises(Refusal, match="cannot be read"):
        service.answer(Ask(body=b"{", content_type="application/json"))


def test_weights_in_pickles_are_no_hugging_face_folder(tmp_path: Path) -> None:
    needs("transformers", "torch")
    folder = heavy_models.huggingface_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "weights.not")
    with pytest.raises(LoadError, match="No model file was found"):
        loaded(folder, "huggingface")
