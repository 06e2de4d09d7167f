"""Arrays change how rows travel, never which bytes are written: a job with them and one without are compared."""

import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Output, numbers_of
from modelyard.jobs import columns
from modelyard.testing.fake_worker import Answered
from modelyard.transport.frames import Frame, decode_request_meta
from modelyard.worker.predictor import Predictor, Request

pytest.importorskip("pyarrow")


class Sums:
    """A row's answer in float32, without any arithmetic whose result depends on how many rows there are."""

    row_wise = True

    def __init__(self, width: int, outputs: int = 1) -> None:
        self.width = width
        self.outputs = outputs
        self.calls: list[int] = []

    def predict(self, batch: Batch) -> Output:
        self.calls.append(batch.rows)
        rows = numbers_of(batch, (), self.width).astype(np.float32)
        with np.errstate(all="ignore"):
            total = rows[:, 0].copy()
            for at in range(1, self.width):
                total = total * np.float32(1.5) + rows[:, at]
            # The sign of a zero shows in its reciprocal.
            answers = [total, np.float32(1) / rows[:, 0]][: self.outputs]
        return answers[0] if self.outputs == 1 else np.stack(answers, axis=1)


class Labels(Sums):
    """Answers that are no numbers."""

    def predict(self, batch: Batch) -> Output:
        return np.array([f"class {row[0]:g}" for row in numbers_of(batch, (), 1)], dtype=object)


def serving(model: Sums) -> Any:
    predictor = Predictor(model, seconds=60, answer_bytes=1 << 30)

    def answer(frame: Frame) -> Answered:
        meta = decode_request_meta(frame.meta)
        (one,) = predictor.answer([Request(frame.body, meta.content_type, meta.accept)])
        return one.status, one.body

    return answer


@pytest.fixture
def compare(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs a job without arrays and with each kind of them; all outcomes have to be the first's."""
    monkeypatch.setattr("modelyard.worker.predictor.signal.setitimer", lambda *_: None)

    def run(data: bytes, model: Sums, kind: str, **spec: Any) -> tuple[Any, list[int]]:
        outcomes, calls = [], []
        for array_type in ("", "<f8", "<f4"):
            folder = Path(tempfile.mkdtemp())
            bench = make_bench(folder)
            bench.objects.put("in", "d/a", data)
            bench.spec["TransformInput"]["ContentType"] = kind
            bench.spec["TransformOutput"] |= {"Accept": kind, **spec.get("TransformOutput", {})}
            bench.spec |= {name: one for name, one in spec.items() if name != "TransformOutput"}
            bench.payload["takes_arrays"] = [array_type]
            model.calls.clear()
            bench.run([bench.worker(serving(model))])
            calls.append(len(model.calls))
            outcomes.append((bench.last[0], bench.last[1], bench.objects.get("out", "r/a.out")))
            bench.close()
            shutil.rmtree(folder)
        assert outcomes[1] == outcomes[0]
        assert outcomes[2] == outcomes[0]
        return outcomes[0], calls

    yield run


NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.4f}"),
    st.floats(1e-30, 1e30).map(lambda value: f"{value:e}"),
    st.sampled_from(["0", "-0", "-0.0", "-00", "-0e1", "1.", ".5", "+1", "01", " 1", "1 ", "\t2", "1E5", "1e-400"]),
)  # fmt: skip
ODD = st.one_of(
    NUMBERS,
    st.sampled_from(
        ["", " ", '"1"', '""', '"1,5"', "nan", "-nan", "inf", "NaN", "1e400", "9007199254740993", "1e17", "text",
         "nan(1)", "1_0", "0x10", "true", "null", "\u0661", "\ufeff1", "1\r", "1\u00a0"]
    ),
)  # fmt: skip
ENDS = st.sampled_from(["\n", "\r\n"])


@st.composite
def csv_bodies(draw: st.DrawFn) -> tuple[int, bytes]:
    width = draw(st.integers(1, 3))
    cell = draw(st.sampled_from([NUMBERS, NUMBERS, ODD]))
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=6))
    if draw(st.integers(0, 9)) == 0:
        rows.insert(draw(st.integers(0, len(rows))), draw(st.lists(cell, max_size=width + 1)))
    end = draw(ENDS)
    text = end.join(",".join(row) for row in rows) + draw(st.sampled_from(["", end, end, end * 2]))
    return width, text.encode()


STRATEGIES = st.sampled_from(["SingleRecord", "MultiRecord"])
SLOW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SLOW
@given(csv_bodies(), STRATEGIES, st.sampled_from([1, 2]))
@example((1, b"1\n\n2\n"), "SingleRecord", 1)
@example((2, b"0,0\n\n0,0"), "SingleRecord", 1)
@example((1, b"nan(1)\n2\n"), "MultiRecord", 1)
@example((1, b"1\r2\n3\r"), "MultiRecord", 1)
@example((2, b"1,2\r\n3,4"), "SingleRecord", 2)
@example((1, b"-0\n-0.0\n"), "SingleRecord", 2)
@example((1, b"1\nnan\n1e-5\n"), "SingleRecord", 1)
@example((1, b"1\n9007199254740993\n"), "MultiRecord", 1)
@example((2, b'1,"2"\n3,\n'), "MultiRecord", 1)
@example((1, b"\xef\xbb\xbf1\n2\n"), "SingleRecord", 1)
def test_csv_is_answered_alike_record_by_record_and_in_arrays(
    compare: Any, body: tuple[int, bytes], strategy: str, outputs: int
) -> None:
    width, data = body
    if data:
        compare(data, Sums(width, outputs), "text/csv", BatchStrategy=strategy)


JSON_NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(-1e6, 1e6).map(repr),
    st.sampled_from(
        ["-0", "-0.0", "1e5", "1E-3", "true", "null", '"a"', "9007199254740993", "[1]"]
    ),
)


@st.composite
def json_lines(draw: st.DrawFn) -> tuple[int, bytes]:
    width = draw(st.integers(1, 3))
    cell = draw(
        st.sampled_from([JSON_NUMBERS, st.integers(0, 99).map(str), st.floats(0, 1).map(repr)])
    )
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=6))
    form = draw(st.sampled_from(["[%s]", ' {"features": [%s]}', '{"a":[%s],"b":1}']))
    lines = [form % ", ".join(row) for row in rows]
    if draw(st.integers(0, 9)) == 0:
        lines.append(draw(st.sampled_from(["", "{}", "1", "[1,2,3,4]", "oops"])))
    end = draw(ENDS)
    return width, (end.join(lines) + draw(st.sampled_from(["", end]))).encode()


@SLOW
@given(json_lines(), STRATEGIES)
def test_json_lines_are_answered_alike_record_by_record_and_in_arrays(
    compare: Any, body: tuple[int, bytes], strategy: str
) -> None:
    width, data = body
    compare(data, Sums(width), "application/jsonlines", BatchStrategy=strategy)


def test_arrays_change_the_number_of_calls(compare: Any) -> None:
    data = b"".join(b"%d,%d.25\n" % (number, number * 7) for number in range(2_000))
    (state, _, output), calls = compare(data, Sums(2), "text/csv", BatchStrategy="SingleRecord")
    assert state == "succeeded"
    assert len(output.splitlines()) == 2_000
    assert calls == [2_000, 1, 1]


def test_filters_and_joins_go_with_arrays(compare: Any) -> None:
    data = b"".join(b"id-%d,%d,%d.5\r\n" % (number, number, number) for number in range(300))
    processing = {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    (state, why, output), calls = compare(
        data,
        Sums(2),
        "text/csv",
        BatchStrategy="SingleRecord",
        DataProcessing=processing,
        TransformOutput={"AssembleWith": "Line"},
    )
    assert (state, why) == ("succeeded", "")
    assert output.splitlines()[7] == b"id-7,18.0"
    assert calls == [300, 1, 1]


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_a_model_whose_answers_are_no_numbers_is_sent_text(compare: Any, strategy: str) -> None:
    (_, _, output), _ = compare(b"1\n2\n3\n", Labels(1), "text/csv", BatchStrategy=strategy)
    assert output == b"class 1\nclass 2\nclass 3\n"


def test_rows_of_another_width_fail_with_the_words_of_the_text_path(compare: Any) -> None:
    (state, why, output), _ = compare(b"1,2\n3,4\n", Sums(3), "text/csv")
    assert (state, output) == ("failed", None)
    assert "The model takes 3 values a row, 2 came" in why


def test_without_pyarrow_text_is_sent(
    make_bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setattr("modelyard.worker.predictor.signal.setitimer", lambda *_: None)
    bench = make_bench(tmp_path)
    bench.objects.put("in", "d/a", b"1\n2\n")
    bench.payload["takes_arrays"] = ["<f4"]
    worker = bench.worker(serving(Sums(1)))
    bench.run([worker])
    bench.close()
    kinds: Sequence[str] = [decode_request_meta(frame.meta).content_type for frame in worker.seen]
    assert kinds == ["text/csv"]


ROWS = b"".join(b"%d.5,-0.0,%d\n" % (row, row % 7) for row in range(200))


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    ("body", "is_table"),
    [
        (ROWS, True),
        (ROWS[:-1], True),
        (ROWS + b"1,2," + b"0" * 3_000 + b"3\n" + ROWS, True),
        (ROWS + b"1,-0,3\n" + ROWS, False),
        (ROWS + b"1,2,-000", False),
        (ROWS + b"\n" + ROWS, False),
        (ROWS + b"1,2\n" + ROWS, False),
    ],
    ids=["rows", "open end", "a long line", "-0", "-0 at the end", "blank line", "short row"],
)
def test_text_is_the_same_table_wherever_it_is_cut(
    body: bytes, is_table: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_TABLE_BYTES", size)
    decode = columns._decoder("text/csv", "<f8")
    assert decode is not None
    records = body.count(b"\n") + (not body.endswith(b"\n"))
    array = columns.Columns(decode, "text/csv", singly=False).encode(body, records)
    assert (array is not None) == is_table
    if array is not None:
        expected = np.loadtxt(io.BytesIO(body), delimiter=",")
        np.testing.assert_array_equal(np.load(io.BytesIO(array)), expected)
