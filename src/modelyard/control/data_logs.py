"""Brings what transform jobs say of failed requests to their ``…/data-log`` streams.

A job is forked from the host, which has the log's database open, and must not open it again; so it writes a file. How far
that file has been brought is kept beside it: a control that is killed in between brings the last lines twice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from modelyard.domain.data_log import DATA_LOG_FILE, read_data_log
from modelyard.runtimes.runtime import LogStream
from modelyard.store.log_values import GroupName, StreamName
from modelyard.store.logs import LogsUnavailable

_OFFSET_FILE = "data-log.offset"
_TURN_BYTES = 4 << 20


class Logs(Protocol):
    """``store.logs.LogStore``, as far as it matters here; blocking."""

    def append(self, stream: StreamName, events: Sequence[tuple[int, str]]) -> None: ...


def bring_data_log(folder: Path, job: LogStream, logs: Logs) -> None:
    """What is new in the job's folder, up to a turn's worth, to the stream beside the job's. Blocks."""
    offset_file = folder / _OFFSET_FILE
    try:
        offset = int(offset_file.read_text() or 0)
    except (FileNotFoundError, ValueError):
        offset = 0
    try:
        with (folder / DATA_LOG_FILE).open("rb") as file:
            file.seek(offset)
            events, size = read_data_log(file.read(_TURN_BYTES))
    except FileNotFoundError:
        return
    if not events:
        return
    group = GroupName(account=job.account, region=job.region, name=job.group)
    try:
        logs.append(StreamName(group=group, name=f"{job.stream}/data-log"), events)
    except LogsUnavailable:
        return  # At the next pass, perhaps; no job waits for its log.
    offset_file.write_text(str(offset + size))
