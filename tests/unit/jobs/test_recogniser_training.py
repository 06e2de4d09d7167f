"""Training a recogniser from objects: what is learned and measured, what is warned of, and what nothing can be learned of."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.ai.recogniser import FILE, NAMES, load
from modelyard.jobs import recogniser_training
from modelyard.jobs.text_training import run_training
from modelyard.store.objects import ObjectStore
from modelyard.testing.archives import unpack
from modelyard.testing.clock import ManualClock
from modelyard.testing.tagged_documents import (
    TYPES,
    annotations_file,
    documents_file,
    tagged_documents,
)

DOCUMENTS = tagged_documents(180, seed=1)


class World:
    def __init__(self, folder: Path) -> None:
        self.objects = ObjectStore(folder / "objects", clock=ManualClock())
        self.objects.create_bucket("b", account="1", region="r")
        self.target = folder / "packs" / "custom" / "model.tar"
        self.folder = folder

    def put(self, key: str, data: bytes | str) -> str:
        with self.objects.writer("b", key) as writer:
            writer.write(data.encode() if isinstance(data, str) else data)
            writer.commit()
        return f"s3://b/{key}"

    def train(self, *types: str, **given: Any) -> tuple[str, str, dict[str, Any]]:
        said: list[tuple[str, str, dict[str, Any]]] = []

        def report(state: str, reason: str = "", progress: dict[str, Any] | None = None) -> None:
            said.append((state, reason, progress or {}))

        given["EntityTypes"] = [{"Type": one} for one in types or TYPES]
        payload = {
            "kind": "comprehend-recogniser",
            "spec": {"InputDataConfig": given},
            "target": str(self.target),
        }
        assert run_training(payload, report, objects=self.objects) == 0
        return said[-1]

    def find(self, text: str) -> dict[str, str]:
        with tarfile.open(self.target) as archive:
            assert archive.getnames() == [NAMES, FILE]
        model = unpack(self.target, self.folder / "model")
        (finding,) = load(model, {}).answer("recognise", [{"text": text}], {})
        return {text[begin:end]: kind for kind, begin, end, _ in finding.result["entities"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def annotated(world: World) -> dict[str, Any]:
    return {
        "Documents": {"S3Uri": world.put("in/docs.txt", documents_file(DOCUMENTS))},
        "Annotations": {"S3Uri": world.put("notes.csv", annotations_file(DOCUMENTS, "docs.txt"))},
    }


def test_annotations_are_learned_and_measured_on_a_tenth(world: World) -> None:
    state, reason, about = world.train(**annotated(world))
    assert (state, reason, about["warnings"]) == ("succeeded", "", [])
    assert (about["trained"], about["tested"]) == (162, 18)
    assert about["metrics"]["f1"] > 0.9
    assert set(about["types"]) == set(TYPES)
    assert all(one["mentions"] >= 25 for one in about["types"].values())
    found = world.find("The engineer Tavel Mikas repaired CZ-123.")
    assert found == {"Tavel Mikas": "ENGINEER", "CZ-123": "PART"}


def test_a_list_of_names_is_found_in_documents_that_nobody_annotated(world: World) -> None:
    plants = ["Korba Works", "North-2", "Zor"]
    lines = [
        f"We visited {plants[n % 3]} on day {n}, and it was {'open' if n % 2 else 'shut'}.\r\n"
        for n in range(90)
    ]
    names = "Text,Type\n" + "".join(f"{name},PLANT\n" for name in plants) + "Nowhere,PLANT\n"
    state, _, about = world.train(
        "PLANT",
        Documents={"S3Uri": world.put("in/docs.txt", "".join(lines))},
        EntityList={"S3Uri": world.put("list.csv", names)},
    )
    assert state == "succeeded" and about["types"]["PLANT"]["mentions"] == about["trained"] == 81
    found = world.find("We visited Lapmar on day 7. Nowhere is North-2.")
    assert found == {"Lapmar": "PLANT", "Nowhere": "PLANT", "North-2": "PLANT"}


def test_documents_that_are_files_and_a_test_of_ones_own(world: World) -> None:
    rows = ["File,Begin Offset,End Offset,Type\n"]
    for number, one in enumerate(DOCUMENTS):
        world.put(f"in/a/{number}.txt", f"{one.text}\n")
        rows += [f"a/{number}.txt,{s.begin},{s.end},{s.type}\n" for s in one.spans]
    test = tagged_documents(9, seed=2)
    for number, one in enumerate(test):
        world.put(f"test/{number}.txt", one.text)
    tested = ["File,Begin Offset,End Offset,Type\n"] + [
        f"{number}.txt,{s.begin},{s.end},{s.type}\n"
        for number, one in enumerate(test)
        for s in one.spans
        if s.type != "PART"
    ]
    state, _, about = world.train(
        Documents={
            "S3Uri": "s3://b/in/", "TestS3Uri": "s3://b/test/", "InputFormat": "ONE_DOC_PER_FILE",
        },
        Annotations={
            "S3Uri": world.put("notes.csv", "".join(rows)),
            "TestS3Uri": world.put("tested.csv", "".join(tested)),
        },
    )  # fmt: skip
    assert state == "succeeded" and (about["trained"], about["tested"]) == (180, 9)
    assert about["types"]["ENGINEER"]["metrics"]["recall"] > 0.9
    # The parts that it finds are nobody's in this test.
    assert about["types"]["PART"]["metrics"]["precision"] == 0.0
    assert ["PART" in one for one in about["warnings"]] == [True]


def test_it_says_what_it_has_not_learned_from_and_what_nothing_is_known_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser_training, "TOKENS_MAX", 500)
    one_seen = tagged_documents(1, seed=5)
    given = annotated(world)
    given["Documents"]["TestS3Uri"] = world.put("test/docs.txt", documents_file(one_seen))
    given["Annotations"]["TestS3Uri"] = world.put("t.csv", annotations_file(one_seen, "docs.txt"))
    state, _, about = world.train(**given)
    assert state == "succeeded" and about["trained"] < 180
    few, untested = about["warnings"]
    assert f"{about['trained']} of 180 documents" in few and "MANAGER, PART" in untested


@pytest.mark.parametrize(
    ("documents", "notes", "message"),
    [
        (b"a\xff\n", "x", "docs.txt, line 0 is not UTF-8"),
        (b"a\n" + b"x" * 10_000_000, "x", "docs.txt, line 1 is larger than 100000 bytes"),
        (b"a\0b\n" * 30, "File,Line,Begin Offset,End Offset,Type\n", "at least 3 documents"),
        (b"a b\n", "Text,Type\n", "columns are expected"),
        (b"a b\n", "\0\n", "columns are expected"),
        (b"a b\n", "x" * 10_000_001, "no CSV"),
        (b"a b\n", "File,Line,Begin Offset,End Offset,Type\ndocs.txt,0,0,9,PART\n", "no part of"),
        (None, "x", "no objects"),
    ],
)
def test_what_nothing_can_be_learned_of_fails_with_a_reason(
    world: World, documents: bytes | None, notes: str, message: str
) -> None:
    uri = "s3://b/none/" if documents is None else world.put("in/docs.txt", documents)
    state, reason, _ = world.train(
        Documents={"S3Uri": uri}, Annotations={"S3Uri": world.put("notes.csv", notes)}
    )
    assert state == "failed" and message in reason
    assert not world.target.exists()
