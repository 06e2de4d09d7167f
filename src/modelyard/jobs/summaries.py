"""What a job leaves beside its outputs when it ends: data capture's manifests, and the completeness manifest.

All are made from the journal, a page at a time, and hold nothing but what a job that was killed and started again finds
there too: writing them again changes nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.domain.transform import Location
from modelyard.jobs.inputs import Objects
from modelyard.jobs.journal import Entry, Journal
from modelyard.jobs.outputs import DEAD_LETTERS

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Summaries:
    """``output_key`` gives where the answers of an input are; ``began`` is when the job did, in epoch seconds."""

    objects: Objects
    journal: Journal
    job: str
    began: float
    source: Location
    target: Location
    output_key: Callable[[str], str]

    def capture(self, destination: Location) -> None:
        """``<destination>/input/yyyy/mm/dd/hh/`` and ``…/output/…``: manifests of the objects read and written."""
        hour = datetime.fromtimestamp(self.began, UTC).strftime("%Y/%m/%d/%H")
        folder = destination.key.rstrip("/")
        for name, prefix, key_of in (
            ("input", self.source, lambda entry: entry.key),
            ("output", self.target, lambda entry: self.output_key(entry.key)),
        ):
            key = f"{folder}/{name}/{hour}/{self.job}.json".lstrip("/")
            keys = (key_of(entry) for entry in self._done())
            self._write(Location(destination.bucket, key), _manifest(prefix, keys))

    def completeness(self) -> None:
        """A line for each input: what it was, and the checksum of what was written for it; then the sums."""
        folder = self.target.key.rstrip("/")
        key = f"{folder}/{self.job}.manifest.jsonl".lstrip("/")
        self._write(Location(self.target.bucket, key), self._lines())

    def _lines(self) -> Iterator[bytes]:
        for entry in self.journal.entries():
            yield _encode(self._line(entry)) + b"\n"
        totals = self.journal.totals()
        sums = {
            "inputs": totals.done + totals.failed,
            "transformed": totals.done,
            "failed": totals.failed,
            "records": totals.records,
            "bytes": totals.bytes,
        }
        yield _encode(sums) + b"\n"

    def _line(self, entry: Entry) -> dict[str, Any]:
        line: dict[str, Any] = {
            "input": str(Location(self.source.bucket, entry.key)),
            "input_etag": entry.input_etag.strip('"'),
        }
        if entry.state != "done":
            return {**line, "error": entry.reason}
        output = Location(self.target.bucket, self.output_key(entry.key))
        line |= {"records": entry.records, "output": str(output), "output_md5": entry.output_etag}
        letters = output.key.removesuffix(".out") + DEAD_LETTERS
        if self.objects.head(output.bucket, letters) is not None:
            line["dead_letters"] = str(Location(output.bucket, letters))
        return {**line, "bytes": entry.bytes}

    def _done(self) -> Iterator[Entry]:
        return (entry for entry in self.journal.entries() if entry.state == "done")

    def _write(self, location: Location, pieces: Iterator[bytes]) -> None:
        writer = self.objects.writer(location.bucket, location.key, content_type="application/json")
        try:
            for piece in pieces:
                writer.write(piece)
            writer.commit()
        except BaseException:
            writer.abort()
            raise


def _manifest(prefix: Location, keys: Iterator[str]) -> Iterator[bytes]:
    """As ``domain.transform_manifest`` writes it, without holding it."""
    yield b"[" + _encode({"prefix": str(prefix)})
    for key in keys:
        yield b"," + _encode(key.removeprefix(prefix.key))
    yield b"]\n"
