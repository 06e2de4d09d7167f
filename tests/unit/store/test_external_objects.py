"""What is fetched from another S3 is there once and whole, whoever is killed meanwhile."""

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from modelyard.store.external_objects import READ_BYTES, ExternalObjects
from modelyard.store.external_s3 import ExternalS3

SIZE = 3 * READ_BYTES


class Client:
    """Gives ranges of one object of zeros; ``before_last`` is called before the last of them."""

    def __init__(self) -> None:
        self.asked = 0

    def before_last(self) -> None:
        """All is well."""

    def head_object(self, **_: Any) -> Any:
        return {"ETag": '"e"', "ContentLength": SIZE}

    def get_object(self, *, Range: str, **_: Any) -> Any:
        self.asked += 1
        begin, end = map(int, Range.removeprefix("bytes=").split("-"))
        if end == SIZE - 1:
            self.before_last()
        return {"Body": io.BytesIO(bytes(end + 1 - begin))}


def test_what_a_killed_process_has_fetched_of_an_object_is_no_longer_there_when_it_is_whole(
    tmp_path: Path,
) -> None:
    where = ExternalS3(endpoint="http://x", region="r", access_key_id="a", secret_access_key="b")
    objects = ExternalObjects(where, tmp_path)
    client = objects._client = Client()
    found = objects.head("b", "models/+part")
    assert found is not None
    child = os.fork()
    if child == 0:
        client.before_last = lambda: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        try:
            found.path.stat()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert found.path.read_bytes() == bytes(SIZE)
    assert [path for path in tmp_path.glob("*/*") if path.stat().st_size] == [found.path]
    assert client.asked == 3, "it is there"

    def fail() -> None:
        raise OSError("away")

    client.before_last = fail  # type: ignore[method-assign]
    found.path.unlink()
    with pytest.raises(OSError, match="away"):
        found.path.stat()
    assert not [path for path in tmp_path.glob("*/*") if path.stat().st_size]
