"""What processes print goes into the log store, as soon as there is one."""

from pathlib import Path

import pytest

from modelyard.runtimes.runtime import LogStream
from modelyard.server.host import Sink
from modelyard.store.log_values import GroupName, StreamName
from modelyard.store.logs import LogStore, LogsUnavailable
from modelyard.testing.clock import ManualClock

STREAM = LogStream(account="1", region="r", group="g", stream="s")
NAME = StreamName(group=GroupName(account="1", region="r", name="g"), name="s")


def test_a_store_that_cannot_be_opened_costs_lines_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    is_full = True

    def open_store() -> LogStore:
        if is_full:
            raise LogsUnavailable("disk is full")
        return LogStore(tmp_path / "logs.db", clock=ManualClock(10.0))

    sink = Sink(open_store)
    sink(STREAM, [(1, "lost")])
    assert "1 lines of s are lost: disk is full" in caplog.text
    is_full = False
    sink(STREAM, [(2, "kept")])
    sink(STREAM, [(3, "kept too")])
    sink.close()
    store = LogStore(tmp_path / "logs.db", clock=ManualClock(10.0))
    events = store.events(NAME).events
    assert [event.message for event in events] == ["kept", "kept too"]
    store.close()
