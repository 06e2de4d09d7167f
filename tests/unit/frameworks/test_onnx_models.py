"""ONNX models of every shape: several inputs, fixed batches, types, outputs that are lists of maps."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.frameworks.answers import JSON, encode
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.bodies import decode
from modelyard.frameworks.formats import load
from modelyard.frameworks.model import BadInput, LoadError, Model
from modelyard.testing import models

FLOAT = TensorProto.FLOAT
Shape = list[Any]


def graph(
    folder: Path,
    nodes: list[Any],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
) -> Path:
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, *one) for name, one in inputs.items()],
        [helper.make_tensor_value_info(name, *one) for name, one in outputs.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def doubled(folder: Path, shape: Shape, *, kind: int = FLOAT, out: Shape | None = None) -> Model:
    graph(
        folder,
        [helper.make_node("Add", ["x", "x"], ["y"])],
        {"x": (kind, shape)},
        {"y": (kind, out or shape)},
    )
    return loaded(folder)


def loaded(folder: Path, **environment: str) -> Model:
    return load(folder, runtime="onnx", environment=environment)


def answer(model: Model, body: str) -> Any:
    return json.loads(encode(model.predict(decode(body.encode(), JSON)), JSON))["predictions"]


def test_rows_are_cast_to_the_models_type(tmp_path: Path) -> None:
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32):
        assert answer(doubled(tmp_path, ["n", 2], kind=kind), "[[1, 2], [3, 4]]") == [
            [2, 4],
            [6, 8],
        ]


def test_large_whole_numbers_are_exact(tmp_path: Path) -> None:
    model = doubled(tmp_path, ["n", 1], kind=TensorProto.INT64)
    assert answer(model, "[[1152921504606846977]]") == [[2305843009213693954]]


@pytest.mark.parametrize("body", ["[[1.5]]", "[[null]]", "[[1e30]]", '[["a"]]', "[[3000000000]]"])
def test_what_is_not_whole_or_out_of_range_is_the_callers_fault(tmp_path: Path, body: str) -> None:
    model = doubled(tmp_path, ["n", 1], kind=TensorProto.INT32)
    with pytest.raises(BadInput, match="for x"):
        model.predict(decode(body.encode(), JSON))


@pytest.mark.parametrize(
    ("shape", "out", "row_wise"),
    [
        (["n", 2], ["n", 2], True),
        ([None, 2], [None, 2], True),
        ([1, 2], [1, 2], True),
        ([4, 2], [4, 2], False),
        (["n", 2], [3, 2], False),
    ],
)
def test_rows_are_merged_where_the_graphs_shapes_allow_it(
    tmp_path: Path, shape: Shape, out: Shape, row_wise: bool
) -> None:
    assert doubled(tmp_path, shape, out=out).row_wise is row_wise


def test_a_model_of_one_row_gets_its_rows_one_by_one(tmp_path: Path) -> None:
    assert answer(doubled(tmp_path, [1, 2]), "[[1, 2], [3, 4], [5, 6]]") == [
        [2, 4],
        [6, 8],
        [10, 12],
    ]


def test_a_model_of_two_rows_gets_them_by_twos(tmp_path: Path) -> None:
    model = doubled(tmp_path, [2, 1])
    assert answer(model, "[[1], [2], [3], [4]]") == [[2], [4], [6], [8]]
    with pytest.raises(BadInput, match="2 rows at a time, 3 came"):
        answer(model, "[[1], [2], [3]]")


def test_a_shape_that_does_not_fit_is_told_in_words(tmp_path: Path) -> None:
    model = doubled(tmp_path, ["n", 2, "m"])
    assert answer(model, "[[[1], [2]]]") == [[[2], [4]]]
    for body in ("[[1, 2]]", "[[[1]]]", "[[[[1], [2]]]]"):
        with pytest.raises(BadInput, match=r"takes \[rows, 2, any\] for x, \[rows"):
            answer(model, body)


def test_what_only_the_runtime_finds_wrong_is_the_callers_fault_too(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    graph(
        tmp_path,
        nodes,
        {"a": (FLOAT, ["n", "w"]), "b": (FLOAT, ["n", "v"])},
        {"y": (FLOAT, ["n", "z"])},
    )
    with pytest.raises(Exception, match="broadcast"):
        answer(loaded(tmp_path), '{"inputs": {"a": [[1, 2]], "b": [[1, 2, 3]]}}')


def two_inputs(folder: Path) -> Model:
    nodes = [helper.make_node("Sub", ["a", "b"], ["y"])]
    graph(folder, nodes, {"a": (FLOAT, ["n", 1]), "b": (FLOAT, ["n", 1])}, {"y": (FLOAT, ["n", 1])})
    return loaded(folder)


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs": {"b": [[1], [1]], "a": [[5], [7]]}}',
        '{"inputs": {"b": [1, 1], "a": [5, 7]}}',
        '[{"b": 1, "a": 5}, {"b": 1, "a": 7, "b": 1}]',
        "[[5, 1], [7, 1]]",
    ],
)
def test_several_inputs_are_told_by_name_or_by_column(tmp_path: Path, body: str) -> None:
    model = two_inputs(tmp_path)
    assert model.row_wise
    assert answer(model, body) == [[4], [6]]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"inputs": {"a": [[5]]}}', "b did not come"),
        ("[[1, 2, 3]]", "send them by name"),
        ('{"inputs": {"a": [[5]], "b": [["x"]]}}', "takes a tensor"),
    ],
)
def test_inputs_that_do_not_fit_are_the_callers_fault(tmp_path: Path, body: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        answer(two_inputs(tmp_path), body)


def test_records_for_one_wide_input_are_its_columns(tmp_path: Path) -> None:
    assert answer(doubled(tmp_path, ["n", 2]), '[{"p": 1, "q": 2}]') == [[2, 4]]


def test_texts_reach_a_model_of_texts(tmp_path: Path) -> None:
    text = TensorProto.STRING
    graph(
        tmp_path,
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (text, ["n", 2])},
        {"y": (text, ["n", 2])},
    )
    assert answer(loaded(tmp_path), '[["é", "b"]]') == [["é", "b"]]


def test_one_output_is_chosen_or_all(tmp_path: Path) -> None:
    models.onnx_model(tmp_path)
    batch = Batch(models.breast_cancer().rows[:2])
    labels = loaded(tmp_path).predict(batch)
    chances = loaded(tmp_path, MODELYARD_OUTPUT="probabilities").predict(batch)
    everything = loaded(tmp_path, MODELYARD_OUTPUT="*").predict(batch)
    assert isinstance(everything, dict)
    assert list(everything) == ["label", "probabilities"]
    np.testing.assert_array_equal(everything["label"], labels)
    np.testing.assert_array_equal(everything["probabilities"], chances)


def test_a_list_of_maps_is_an_object_a_row_with_short_numbers(tmp_path: Path) -> None:
    models.onnx_model(tmp_path, zipmap=True)
    rows = models.breast_cancer().rows[:2]
    found = loaded(tmp_path, MODELYARD_OUTPUT="output_probability").predict(Batch(rows))
    models.onnx_model(tmp_path)
    plain = loaded(tmp_path, MODELYARD_OUTPUT="probabilities").predict(Batch(rows))
    expected = json.loads(encode(plain, JSON))["predictions"]
    maps = json.loads(encode(found, JSON))["predictions"]
    assert maps == [{"0": no, "1": yes} for no, yes in expected]


def external(folder: Path, location: str) -> Path:
    weights = helper.make_tensor("w", FLOAT, [2], [1.0, 1.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    made = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 2])],
        [weights],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_may_lie_in_a_file_beside_the_model(tmp_path: Path) -> None:
    external(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(np.array([10, 20], np.float32).tobytes())
    assert answer(loaded(tmp_path), "[[1, 2]]") == [[11, 22]]


@pytest.mark.parametrize("absolute", [True, False])
def test_a_model_reads_no_file_outside_its_folder(tmp_path: Path, absolute: bool) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.array([10, 20], np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    external(folder, str(secret) if absolute else os.path.join("..", "secret.bin"))
    with pytest.raises(LoadError, match="not a model that onnxruntime reads"):
        loaded(folder)
