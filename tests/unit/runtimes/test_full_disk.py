"""What a process says where there is no room for it."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Array
from modelyard.runtimes import child
from modelyard.runtimes.cgroups import Cgroups
from modelyard.runtimes.isolation import NO_ISOLATION
from modelyard.runtimes.records import Records
from modelyard.runtimes.runtime import LogStream, ProcessSpec
from modelyard.worker.predictor import Predictor, Request

ANSWERED = 3


class Broken:
    row_wise = True

    def predict(self, batch: Batch) -> Array:
        raise ValueError(np.zeros(5_000).tolist())


def answer_on_a_full_disk(payload: dict[str, Any], address: str, report: Any) -> int:
    predictor = Predictor(Broken(), seconds=60, answer_bytes=100)
    answers = [predictor.answer([Request(b"1", "text/csv", "")])[0].status for _ in range(5)]
    print("a word of the model's own")
    return ANSWERED if answers == [500] * 5 else 1


def test_a_models_traceback_that_finds_no_room_does_not_end_its_worker(tmp_path: Path) -> None:
    stream = LogStream(account="1", region="r", group="g", stream="s")
    birth = child.Birth(
        spec=ProcessSpec(id="w", kind="worker", log=stream),
        main=answer_on_a_full_disk,
        prepare=None,
        ahead=None,
        waits_at=-1,
        isolation=NO_ISOLATION,
        records=Records(tmp_path),
        cgroups=Cgroups({}, 0),
        output=Path("/dev/full"),
        run=tmp_path,
        host=os.getpid(),
    )
    pid = os.fork()
    if pid == 0:
        child.run(birth)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == ANSWERED
