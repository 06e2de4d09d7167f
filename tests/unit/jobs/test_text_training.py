"""Training a classifier from CSV objects: what is learned, how it is measured, and what nothing can be learned of."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.classifier import FILE, chosen, load
from modelyard.domain.text_training import BadTrainingData, Example, check, examples, measure, split
from modelyard.jobs.text_training import run_training
from modelyard.store.objects import ObjectStore
from modelyard.testing.archives import unpack
from modelyard.testing.clock import ManualClock

WORDS = {
    "SPORT": "ball goal team match",
    "FOOD": "bread soup cheese cook",
    "MONEY": "bank loan tax fund",
}


def rows(separator: str = "") -> str:
    """Thirty of each label; with a separator, each also of the next one."""
    names = list(WORDS)
    lines = []
    for number in range(30):
        for place, name in enumerate(names):
            other = names[(place + 1) % 3]
            words = f"{WORDS[name]} {WORDS[other] if separator else ''} number {number}"
            lines.append(f'{name}{separator + other if separator else ""},"the {words}"\n')
    return "".join(lines)


class World:
    def __init__(self, folder: Path) -> None:
        self.objects = ObjectStore(folder / "objects", clock=ManualClock())
        self.objects.create_bucket("b", account="1", region="r")
        self.target = folder / "packs" / "custom" / "model.tar"
        self.folder = folder

    def train(self, data: bytes, mode: str = "MULTI_CLASS") -> tuple[str, str, dict[str, Any]]:
        with self.objects.writer("b", "in/train.csv") as writer:
            writer.write(data)
            writer.commit()
        said: list[tuple[str, str, dict[str, Any]]] = []

        def report(state: str, reason: str = "", progress: dict[str, Any] | None = None) -> None:
            said.append((state, reason, progress or {}))

        given = {"S3Uri": "s3://b/in/"}
        spec = {"InputDataConfig": given, "Mode": mode, "OutputUri": "s3://b/out/output.tar.gz"}
        payload = {"spec": spec, "target": str(self.target)}
        assert run_training(payload, report, objects=self.objects) == 0
        return said[-1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_classes_that_exclude_each_other_are_learned_and_measured(world: World) -> None:
    state, reason, about = world.train(rows().encode())
    assert (state, reason) == ("succeeded", "")
    assert (about["labels"], about["trained"], about["tested"]) == (3, 81, 9)
    assert about["metrics"]["accuracy"] == 1.0 and about["metrics"]["hamming_loss"] == 0.0
    with tarfile.open(world.target) as archive:
        assert archive.getnames() == [FILE]
    (finding,) = load(unpack(world.target, world.folder / "model"), {}).answer(
        "classify", [{"text": "soup and bread"}], {}
    )
    scores = finding.result["scores"]
    assert scores[0][0] == "FOOD" and sum(score for _, score in scores) == pytest.approx(1.0)
    opened = world.objects.open_object("b", "out/output.tar.gz")
    assert opened is not None
    with opened[1] as file, tarfile.open(fileobj=file) as archive:
        said = json.load(archive.extractfile("output/confusion_matrix.json"))  # type: ignore[arg-type]
    assert said["confusion_matrix"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]


def test_labels_that_come_together_are_learned(world: World) -> None:
    state, reason, about = world.train(rows("|").encode(), "MULTI_LABEL")
    assert (state, reason) == ("succeeded", "") and about["metrics"]["micro_f1"] > 0.9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least 2 labels"),
        (b"A,x\n" * 20, "at least 2 labels"),
        (b"A,x\n" * 20 + b"B,y\n" * 9, "B (9)"),
        (b"A,x,y\n", "3 fields"),
        (b"A,\n", "lacks"),
        (b'A,"x\n', "no CSV"),
        (b"A,\xff\n", "not UTF-8"),
    ],
)
def test_what_nothing_can_be_learned_of_fails_with_a_reason(
    world: World, data: bytes, message: str
) -> None:
    state, reason, _ = world.train(data)
    assert state == "failed" and message in reason
    assert not world.target.exists()


def test_the_same_rows_fall_the_same_way() -> None:
    found = [Example((name,), f"{name} {number}") for name in "AB" for number in range(20)]
    learn, test = split(found)
    _, again = split(list(reversed(found)))
    assert {one.text for one in test} == {one.text for one in again}
    assert (len(learn), len(test)) == (36, 4)


def test_metrics_are_those_of_the_textbook() -> None:
    got = measure([("A",), ("A", "B"), ("B",)], [("A",), ("A",), ("A",)], ["A", "B"])
    assert got.accuracy == pytest.approx(1 / 3)
    assert (got.micro_precision, got.micro_recall) == (pytest.approx(2 / 3), 0.5)
    assert (got.precision, got.recall) == (pytest.approx(1 / 3), 0.5)
    assert got.hamming_loss == pytest.approx(3 / 6)


def test_labels_are_separated_only_where_there_may_be_several() -> None:
    assert [one.labels for one in examples(["A|B,x"], "MULTI_LABEL")] == [("A", "B")]
    assert [one.labels for one in examples(["A|B,x"], "MULTI_CLASS")] == [("A|B",)]
    assert chosen([("A", 0.6), ("B", 0.5), ("C", 0.4)], is_multi_label=True) == ("A", "B")
    many = [Example((str(number),), "x") for number in range(101) for _ in range(10)]
    with pytest.raises(BadTrainingData, match="at most 100"):
        check(many, "MULTI_LABEL")
