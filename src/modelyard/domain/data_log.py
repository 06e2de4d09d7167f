"""Lines of a transform job's ``data-log`` on their way from the job's file to its log stream."""

from collections.abc import Sequence

DATA_LOG_FILE = "data-log"
"""In the job's folder."""
_TEXT_CHARACTERS = 4_000


def data_log_line(now: float, text: str) -> bytes:
    """One line of the file: milliseconds since the epoch, and what AWS's log would say."""
    flat = " ".join(text[:_TEXT_CHARACTERS].splitlines())
    return f"{int(now * 1000)} [sagemaker logs]: {flat}\n".encode()


def read_data_log(data: bytes) -> tuple[Sequence[tuple[int, str]], int]:
    """The events of all whole lines, and how many bytes those are."""
    whole = data[: data.rfind(b"\n") + 1]
    events = []
    for line in whole.decode("utf-8", "replace").splitlines():
        stamp, _, text = line.partition(" ")
        events.append((int(stamp), text))
    return events, len(whole)
