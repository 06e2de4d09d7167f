"""Finding and loading the model of a folder, every format, and what a container's environment may ask for."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import NMF
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from modelyard.frameworks.answers import JSON, encode
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.bodies import decode
from modelyard.frameworks.formats import load
from modelyard.frameworks.model import BadInput, FrameworkMissing, LoadError, Model
from modelyard.testing import models, rogue

DATA = models.breast_cancer()
ROWS = DATA.rows[:5]


def loaded(folder: Path, runtime: str = "auto", **environment: str) -> Model:
    return load(folder, runtime=runtime, environment=environment)


def predicted(model: Model, rows: Any = ROWS) -> Any:
    output = model.predict(Batch(np.asarray(rows)))
    assert not isinstance(output, dict)
    return output


MAKERS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "onnx": (models.onnx_model, ("auto", "onnx")),
    "joblib": (models.joblib_model, ("auto", "sklearn")),
    "pickle": (models.pickle_model, ("auto", "sklearn")),
    "skops": (models.skops_model, ("auto", "sklearn")),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_classifier_of_each_format_answers_its_labels(tmp_path: Path, name: str) -> None:
    make, runtimes = MAKERS[name]
    make(tmp_path)
    expected = models.classifier().predict(ROWS)
    for runtime in runtimes:
        model = loaded(tmp_path, runtime)
        assert model.row_wise
        assert predicted(model).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "name", ["model.json", "model.ubj", "xgboost-model", "anything.model", "noname"]
)
@pytest.mark.parametrize("runtime", ["auto", "xgboost"])
def test_an_xgboost_booster_is_known_by_its_content(
    tmp_path: Path, name: str, runtime: str
) -> None:
    import xgboost

    booster = models.xgboost_booster()
    (tmp_path / name).write_bytes(
        bytes(booster.save_raw("ubj" if name.endswith("ubj") else "json"))
    )
    expected = booster.predict(xgboost.DMatrix(ROWS))
    np.testing.assert_allclose(predicted(loaded(tmp_path, runtime)), expected, rtol=1e-5)
    margins = booster.predict(xgboost.DMatrix(ROWS), output_margin=True)
    asked = loaded(tmp_path, runtime, MODELYARD_OUTPUT="margin")
    np.testing.assert_allclose(predicted(asked), margins, rtol=1e-5)


def test_a_linear_booster_predicts(tmp_path: Path) -> None:
    import xgboost

    models.xgboost_model(tmp_path, booster="gblinear")
    expected = models.xgboost_booster(booster="gblinear").predict(xgboost.DMatrix(ROWS))
    np.testing.assert_allclose(predicted(loaded(tmp_path)), expected, rtol=1e-3)


def test_a_pickled_booster_under_sagemakers_name_loads(tmp_path: Path) -> None:
    models.pickle_model(tmp_path, models.xgboost_booster()).rename(tmp_path / "xgboost-model")
    assert predicted(loaded(tmp_path, "xgboost")).shape == (5,)


def test_pickled_boosters_and_estimators_of_each_library_load(tmp_path: Path) -> None:
    import lightgbm
    import xgboost

    estimators: list[Any] = [
        models.xgboost_booster(),
        models.lightgbm_booster(),
        xgboost.XGBClassifier(n_estimators=3).fit(DATA.rows, DATA.labels),
        lightgbm.LGBMRegressor(n_estimators=3, verbosity=-1).fit(DATA.rows, DATA.labels),
    ]
    for estimator in estimators:
        models.joblib_model(tmp_path, estimator)
        assert predicted(loaded(tmp_path)).shape == (5,)


@pytest.mark.parametrize("name", ["model.txt", "lightgbm-model", "m.lgb"])
def test_a_lightgbm_booster_loads(tmp_path: Path, name: str) -> None:
    booster = models.lightgbm_booster()
    models.lightgbm_model(tmp_path, name=name)
    (tmp_path / "requirements.txt").write_text("lightgbm\n")
    expected = booster.predict(ROWS)
    np.testing.assert_allclose(predicted(loaded(tmp_path, "lightgbm")), expected)
    raw = predicted(loaded(tmp_path, MODELYARD_OUTPUT="raw_score"))
    np.testing.assert_allclose(raw, booster.predict(ROWS, raw_score=True))


def test_the_topmost_model_wins(tmp_path: Path) -> None:
    models.xgboost_model(tmp_path)
    (tmp_path / "code").mkdir()
    models.lightgbm_model(tmp_path / "code")
    assert predicted(loaded(tmp_path)).dtype == np.float32


def test_several_candidates_are_named_and_one_may_be_chosen(tmp_path: Path) -> None:
    models.xgboost_model(tmp_path, name="b.json")
    models.lightgbm_model(tmp_path, name="a.txt")
    with pytest.raises(LoadError, match=r"a\.txt, b\.json.*MODELYARD_MODEL_FILE"):
        loaded(tmp_path)
    assert predicted(loaded(tmp_path, MODELYARD_MODEL_FILE="a.txt")).dtype == np.float64


def test_a_chosen_file_may_have_any_name(tmp_path: Path) -> None:
    models.lightgbm_model(tmp_path, name="weights.v2")
    models.xgboost_model(tmp_path)
    assert predicted(loaded(tmp_path, MODELYARD_MODEL_FILE="weights.v2")).dtype == np.float64
    models.onnx_model(tmp_path).rename(tmp_path / "odd.name")
    assert len(predicted(loaded(tmp_path, "onnx", MODELYARD_MODEL_FILE="odd.name"))) == 5


@pytest.mark.parametrize("name", ["nothing.onnx", "../../etc/passwd", "/etc/passwd", "notes.md"])
def test_a_chosen_file_that_is_no_model_of_the_artifact_is_refused(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(LoadError, match=r"notes\.md"):
        loaded(tmp_path, MODELYARD_MODEL_FILE=name)


def test_an_artifact_without_a_model_says_what_it_holds_and_what_is_known(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"notes{number:02}.md").write_text("hello")
    (tmp_path / "config.json").write_text('{"a": 1}')
    with pytest.raises(
        LoadError, match=r"config\.json, notes00\.md.* and 3 more\. Known are \*\.onnx"
    ):
        loaded(tmp_path)


def test_a_runtime_that_is_not_served_is_refused_with_a_way_out(tmp_path: Path) -> None:
    models.onnx_model(tmp_path)
    with pytest.raises(
        LoadError, match="does not run tensorflow models yet; export the model as ONNX"
    ):
        loaded(tmp_path, "tensorflow")


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [
        (models.onnx_model, "onnxruntime", "onnx"),
        (models.skops_model, "skops", "sklearn"),
        (models.xgboost_model, "xgboost", "xgboost"),
        (models.lightgbm_model, "lightgbm", "lightgbm"),
    ],
)
def test_a_missing_library_is_said_with_the_line_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, package: str, extra: str
) -> None:
    make(tmp_path)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FrameworkMissing, match=rf"pip install 'modelyard\[{extra}\]'"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("model.onnx", b"garbage", "not a model that onnxruntime reads"),
        ("model.onnx", b"", "not a model that onnxruntime reads"),
        ("model.json", b'{"learner": {"nonsense": 1}}', "not a model that XGBoost reads"),
        ("model.ubj", b"{L\0\0\0\0\0\0\0\7learner", "not a model that XGBoost reads"),
        ("model.txt", b"tree\nversion=v4\nnonsense", "not a model that LightGBM reads"),
        ("model.skops", b"garbage", "not a skops file"),
        ("model.pkl", b"garbage", "cannot be loaded"),
    ],
)
def test_a_file_that_is_no_model_is_an_error_with_the_librarys_words(
    tmp_path: Path, name: str, content: bytes, text: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=text):
        loaded(tmp_path)


def test_a_corrupt_onnx_model_is_an_error(tmp_path: Path) -> None:
    models.corrupt_onnx(tmp_path)
    with pytest.raises(LoadError, match=r"model\.onnx is not a model that onnxruntime reads"):
        loaded(tmp_path)


@pytest.mark.parametrize("value", [{"a": 1}, [1], "text", LinearRegression])
def test_a_pickle_of_something_else_is_no_model(tmp_path: Path, value: Any) -> None:
    models.pickle_model(tmp_path, value)
    with pytest.raises(LoadError, match="is no model: it has no predict"):
        loaded(tmp_path)


def test_a_skops_whose_audit_can_be_deceived_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.skops_model(tmp_path)
    monkeypatch.setattr("skops.__version__", "0.11.0")
    with pytest.raises(LoadError, match="too old to be safe"):
        loaded(tmp_path)


def test_skops_types_beyond_the_list_are_refused(tmp_path: Path) -> None:
    models.skops_model(tmp_path, rogue.WellBehaved())
    with pytest.raises(LoadError, match=r"modelyard\.testing\.rogue\.WellBehaved"):
        loaded(tmp_path)
    model = load(tmp_path, runtime="auto", environment={}, trusted=rogue.ROGUES)
    assert predicted(model, [[1.0, 2.0]]).tolist() == [3.0]


@pytest.mark.parametrize(
    "make", [models.joblib_model, models.onnx_model, models.xgboost_model, models.lightgbm_model]
)
def test_an_output_that_the_model_lacks_is_refused_with_those_it_has(
    tmp_path: Path, make: Any
) -> None:
    make(tmp_path)
    with pytest.raises(LoadError, match="'nonsense' is not among the model's outputs: "):
        loaded(tmp_path, MODELYARD_OUTPUT="nonsense")


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1.5", "", "²", "99999"])
def test_threads_have_to_be_a_number(tmp_path: Path, threads: str) -> None:
    models.onnx_model(tmp_path)
    with pytest.raises(LoadError, match="not a number of threads"):
        loaded(tmp_path, MODELYARD_THREADS=threads)


def test_merging_may_be_switched_off(tmp_path: Path) -> None:
    models.onnx_model(tmp_path)
    model = loaded(tmp_path, MODELYARD_MERGE="false")
    assert not model.row_wise
    assert len(predicted(model)) == 5
    with pytest.raises(LoadError, match="neither true nor false"):
        loaded(tmp_path, MODELYARD_MERGE="perhaps")


@pytest.mark.parametrize("output", ["predict_proba", "predict_log_proba", "decision_function"])
def test_an_estimators_other_methods_may_answer(tmp_path: Path, output: str) -> None:
    models.joblib_model(tmp_path)
    expected = getattr(models.classifier(), output)(ROWS)
    np.testing.assert_allclose(predicted(loaded(tmp_path, MODELYARD_OUTPUT=output)), expected)


def test_a_transformer_answers_what_it_transforms(tmp_path: Path) -> None:
    models.joblib_model(tmp_path, StandardScaler().fit(DATA.rows))
    np.testing.assert_allclose(
        predicted(loaded(tmp_path)), StandardScaler().fit(DATA.rows).transform(ROWS)
    )


def test_labels_may_be_texts(tmp_path: Path) -> None:
    labels = np.where(DATA.labels, "benign", "malignant")
    models.joblib_model(tmp_path, GaussianNB().fit(DATA.rows, labels))
    assert (
        encode(predicted(loaded(tmp_path), DATA.rows[:1]), JSON) == b'{"predictions":["malignant"]}'
    )


def test_several_outputs_are_one_list_a_row(tmp_path: Path) -> None:
    two = np.stack([DATA.labels, 1 - DATA.labels], axis=1)
    forest = RandomForestClassifier(3, max_depth=2, random_state=0, n_jobs=-1).fit(DATA.rows, two)
    models.joblib_model(tmp_path, forest)
    assert predicted(loaded(tmp_path)).shape == (5, 2)
    chances = predicted(loaded(tmp_path, MODELYARD_OUTPUT="predict_proba"))
    assert chances.shape == (5, 2, 2)
    np.testing.assert_allclose(chances[:, 0], forest.predict_proba(ROWS)[0])


def test_sparse_results_become_dense(tmp_path: Path) -> None:
    models.joblib_model(tmp_path, OneHotEncoder().fit([["a"], ["b"]]))
    assert predicted(loaded(tmp_path), np.array([["b"]], dtype=object)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "make", [models.joblib_model, models.xgboost_model, models.lightgbm_model, models.onnx_model]
)
def test_rows_of_another_width_or_of_texts_are_the_callers_fault(tmp_path: Path, make: Any) -> None:
    make(tmp_path)
    model = loaded(tmp_path)
    for rows in (np.zeros((2, 29)), np.zeros((2, 31)), np.zeros((2, 30, 1))):
        with pytest.raises(BadInput, match="30"):
            model.predict(Batch(rows))


@pytest.mark.parametrize("make", [models.xgboost_model, models.lightgbm_model, models.onnx_model])
def test_texts_for_a_model_of_numbers_are_the_callers_fault(tmp_path: Path, make: Any) -> None:
    make(tmp_path)
    model = loaded(tmp_path)
    with pytest.raises(BadInput):
        model.predict(Batch(np.full((1, 30), "red", dtype=object)))
    assert len(predicted(model, np.full((1, 30), "1.5", dtype=object))) == 1


def frame() -> Any:
    import pandas

    return pandas.DataFrame(DATA.rows[:, :2], columns=["radius", "texture"])


def test_records_are_put_in_the_order_of_the_models_names(tmp_path: Path) -> None:
    estimator = LogisticRegression().fit(frame(), DATA.labels)
    models.joblib_model(tmp_path, estimator)
    model = loaded(tmp_path)
    radius, texture = DATA.rows[0, :2]
    expected = predicted(model, [[radius, texture]]).tolist()
    body = f'[{{"texture": {texture}, "extra": 1, "radius": {radius}}}]'.encode()
    found = model.predict(decode(body, JSON))
    assert not isinstance(found, dict)
    assert found.tolist() == expected
    with pytest.raises(BadInput, match="The records lack texture"):
        model.predict(decode(b'[{"radius": 1}]', JSON))


def pipeline_by_names() -> Any:
    import pandas

    table = pandas.DataFrame(
        {"size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "blue"]}
    )
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["size"]), ("c", OneHotEncoder(), ["colour"])]
    )
    return make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[{"colour": "red", "size": 1}, {"colour": "blue", "size": 2.5}]', JSON),
        (b'[[1, "red"], [2.5, "blue"]]', JSON),
        (b"1,red\n2.5,blue\n", "text/csv"),
    ],
)
def test_a_model_that_chooses_columns_by_name_gets_them(
    tmp_path: Path, body: bytes, content_type: str
) -> None:
    models.joblib_model(tmp_path, pipeline_by_names())
    output = loaded(tmp_path).predict(decode(body, content_type))
    assert not isinstance(output, dict)
    assert output.tolist() == [0, 1]


def test_a_model_of_texts_takes_one_text_a_row(tmp_path: Path) -> None:
    estimator = make_pipeline(CountVectorizer(), LogisticRegression())
    estimator.fit(["good fine", "bad awful", "fine", "awful"], ["up", "down", "up", "down"])
    models.joblib_model(tmp_path, estimator)
    model = loaded(tmp_path)
    assert model.row_wise
    for body, content_type in (
        (b'{"instances": ["so fine", "awful"]}', JSON),
        (b'"so fine"\n"awful, bad"\n', "text/csv"),
        (b'"so fine"\n"awful"', "application/jsonlines"),
    ):
        output = model.predict(decode(body, content_type))
        assert not isinstance(output, dict)
        assert output.tolist() == ["up", "down"]
    with pytest.raises(BadInput, match="one text a row, 2"):
        model.predict(decode(b'[["a", "b"]]', JSON))


def test_a_model_that_would_open_files_for_its_callers_is_refused(tmp_path: Path) -> None:
    models.joblib_model(tmp_path, CountVectorizer(input="filename", vocabulary=["a"]))
    with pytest.raises(LoadError, match="open the files"):
        loaded(tmp_path)


def test_estimators_that_look_at_all_rows_are_not_merged(tmp_path: Path) -> None:
    models.joblib_model(tmp_path, NMF(2, max_iter=500, tol=1e-2).fit(np.abs(DATA.rows[:20])))
    assert not loaded(tmp_path).row_wise


def test_a_function_of_anybodys_is_not_merged_and_a_ufunc_is(tmp_path: Path) -> None:
    for function, merged in ((np.log1p, True), (np.mean, False)):
        models.joblib_model(tmp_path, FunctionTransformer(function, validate=True).fit(ROWS))
        assert loaded(tmp_path).row_wise is merged


def test_estimators_use_no_more_threads_than_asked_for(tmp_path: Path) -> None:
    models.joblib_model(tmp_path, RandomForestClassifier(2, n_jobs=-1).fit(ROWS, DATA.labels[:5]))
    model: Any = loaded(tmp_path, MODELYARD_THREADS="2")
    assert model._call.__self__.n_jobs == 2


def test_a_rogue_is_loaded_only_where_the_owner_trusts_it(tmp_path: Path) -> None:
    models.joblib_model(tmp_path, rogue.WrongLength())
    with pytest.raises(LoadError, match="allow-list"):
        loaded(tmp_path)
    model = load(tmp_path, runtime="auto", environment={}, trusted=rogue.ROGUES)
    assert len(predicted(model, [[1.0, 2.0]])) == 2
