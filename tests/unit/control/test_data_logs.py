from collections.abc import Sequence
from pathlib import Path

from modelyard.control.data_logs import bring_data_log
from modelyard.domain.data_log import DATA_LOG_FILE
from modelyard.jobs.data_log import LINES_MAX, DataLog
from modelyard.runtimes.runtime import LogStream
from modelyard.store.log_values import StreamName
from modelyard.store.logs import LogsUnavailable
from modelyard.testing.clock import ManualClock

JOB = LogStream(account="1", region="r", group="/aws/sagemaker/TransformJobs", stream="night/i-1")


class Logs:
    def __init__(self) -> None:
        self.events: list[tuple[str, int, str]] = []
        self.is_down = False

    def append(self, stream: StreamName, events: Sequence[tuple[int, str]]) -> None:
        if self.is_down:
            raise LogsUnavailable
        self.events += [(stream.name, stamp, text) for stamp, text in events]


def test_what_a_job_told_is_brought_once_and_in_order(tmp_path: Path) -> None:
    clock, logs = ManualClock(), Logs()
    bring_data_log(tmp_path, JOB, logs)
    log = DataLog(tmp_path, clock)
    log.tell("one\nof two lines")
    bring_data_log(tmp_path, JOB, logs)
    bring_data_log(tmp_path, JOB, logs)
    log.tell("two")
    with (tmp_path / DATA_LOG_FILE).open("ab") as file:
        file.write(b"1 half a li")
    bring_data_log(tmp_path, JOB, logs)
    log.close()
    now = int(clock.now() * 1000)
    assert logs.events == [
        ("night/i-1/data-log", now, "[sagemaker logs]: one of two lines"),
        ("night/i-1/data-log", now, "[sagemaker logs]: two"),
    ]


def test_a_log_that_is_down_is_tried_again(tmp_path: Path) -> None:
    logs = Logs()
    log = DataLog(tmp_path, ManualClock())
    log.tell("one")
    log.close()
    logs.is_down = True
    bring_data_log(tmp_path, JOB, logs)
    logs.is_down = False
    bring_data_log(tmp_path, JOB, logs)
    assert len(logs.events) == 1


def test_errors_without_end_do_not_fill_the_disk(tmp_path: Path) -> None:
    log = DataLog(tmp_path, ManualClock())
    for number in range(LINES_MAX + 10):
        log.tell(str(number))
    log.close()
    lines = (tmp_path / DATA_LOG_FILE).read_text().splitlines()
    assert len(lines) == LINES_MAX
    assert lines[-1].endswith("more errors follow, which are not written")
