"""One predict for many, and each its own answer or its own error."""

from collections.abc import Callable

import numpy as np
import pytest

from modelyard.domain.chain import ARRAYS, accept_at
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Array, BadInput
from modelyard.worker.predictor import Predictor, Request

Predict = Callable[[Array], Array]


class Model:
    def __init__(self, predict: Predict, *, row_wise: bool = True) -> None:
        self._predict = predict
        self.row_wise = row_wise
        self.calls: list[int] = []

    def predict(self, batch: Batch) -> Array:
        assert batch.array is not None
        self.calls.append(batch.rows)
        return self._predict(batch.array)


def double(rows: Array) -> Array:
    result: Array = rows[:, 0] * 2
    return result


def refuse_seven(rows: Array) -> Array:
    if (rows[:, 0] == 7).any():
        raise BadInput("seven is not taken")
    if (rows[:, 0] == 8).any():
        raise ZeroDivisionError("eight")
    return double(rows)


def answer(model: Model, *bodies: str, accept: str = "") -> list[tuple[int, str]]:
    predictor = Predictor(model, seconds=60, answer_bytes=100)
    requests = [Request(body.encode(), "text/csv", accept) for body in bodies]
    return [(one.status, one.body.decode()) for one in predictor.answer(requests)]


def test_requests_of_one_form_share_a_predict_and_each_gets_its_own_rows() -> None:
    model = Model(double)
    assert answer(model, "1\n2", "3", "4\n5\n6") == [
        (200, "2.0\n4.0\n"),
        (200, "6.0\n"),
        (200, "8.0\n10.0\n12.0\n"),
    ]
    assert model.calls == [6]


def test_other_widths_are_predicted_apart() -> None:
    model = Model(double)
    assert [status for status, _ in answer(model, "1", "1,2", "3")] == [200, 200, 200]
    assert sorted(model.calls) == [1, 2]


def test_a_model_that_looks_at_neighbours_gets_one_request_at_a_time() -> None:
    model = Model(double, row_wise=False)
    assert len(answer(model, "1", "2", "3")) == 3
    assert model.calls == [1, 1, 1]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    ("bad", "status", "text"),
    [
        ("7", 400, "seven is not taken"),
        ("8", 500, "ZeroDivisionError: eight"),
        ("", 400, "The body is empty."),
    ],
)
def test_a_bad_request_is_one_callers_error(
    position: int, bad: str, status: int, text: str
) -> None:
    bodies = ["1", "2"]
    bodies.insert(position, bad)
    found = answer(Model(refuse_seven), *bodies)
    assert found.pop(position) == (status, text)
    assert found == [(200, "2.0\n"), (200, "4.0\n")]


def test_a_model_that_answers_too_few_rows_is_its_own_error() -> None:
    ((status, text),) = answer(Model(lambda rows: rows[:0, 0]), "1")
    assert (status, text) == (500, "The model answered 0 elements for 1 rows.")


def test_an_answer_over_the_limit_is_refused_with_both_numbers() -> None:
    ((status, text),) = answer(Model(double), "\n".join(["1"] * 50))
    assert status == 500
    assert "200 bytes" in text
    assert "limit is 100" in text


def test_an_answer_of_a_type_that_cannot_be_written_is_406() -> None:
    ((status, _),) = answer(Model(double), "1", accept="image/png")
    assert status == 406


def test_a_models_memory_error_is_an_answer() -> None:
    def fail(rows: Array) -> Array:
        raise MemoryError("too big")

    assert answer(Model(fail), "1") == [(500, "MemoryError: too big")]


def test_an_answer_of_objects_that_cannot_be_written_is_the_models_error() -> None:
    def objects(rows: Array) -> Array:
        return np.array([object()] * len(rows), dtype=object)

    ((status, _),) = answer(Model(objects), "1", accept="application/json")
    assert status == 500


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/csv", "text/csv"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/x-parquet", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_last_of_a_chain_answers_in_the_type_that_the_caller_sent(
    content_type: str, expected: str
) -> None:
    predictor = Predictor(Model(double), seconds=60, answer_bytes=1000)
    (first,) = predictor.answer([Request(b"1\n2\n", "text/csv", ARRAYS)])
    assert first.content_type == "application/x-npy"
    accept = accept_at(1, (True, True), accept="", content_type=content_type)
    (last,) = predictor.answer([Request(first.body, first.content_type, accept)])
    assert (last.status, last.content_type) == (200, expected)
    assert last.body in (b"4.0\n8.0\n", b'{"predictions":[4.0,8.0]}')
