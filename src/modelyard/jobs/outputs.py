"""The output of one object on its way, and beside it the records that were put aside."""

import base64
import hashlib
from dataclasses import dataclass, field

import msgspec

from modelyard.base.failpoint import failpoint
from modelyard.domain.transform import Location
from modelyard.domain.transform_packing import Batch
from modelyard.jobs.inputs import Objects, ObjectWriter
from modelyard.jobs.replica import ObjectFailed

DEAD_LETTERS = ".dead-letters.jsonl"
"""Ends the key of what is written beside an output: a line of JSON for each record that has no answer."""


@dataclass(slots=True, kw_only=True)
class Output:
    """Begun with its first answer; nothing is visible before ``commit``, nothing stays of ``abort``."""

    objects: Objects
    location: Location
    content_type: str
    size: int = 0
    _digest: "hashlib._Hash" = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    _writer: ObjectWriter | None = None
    _letters: ObjectWriter | None = None

    @property
    def etag(self) -> str:
        """What the output's will be."""
        return self._digest.hexdigest()

    @property
    def is_begun(self) -> bool:
        return self._writer is not None

    def write(self, data: bytes, content_type: str) -> None:
        """Raises ``ObjectFailed``, ``OSError``."""
        if self._writer is None:
            self._writer = self._begin(self.location.key, content_type or self.content_type)
        self._writer.write(data)
        self._digest.update(data)
        self.size += len(data)

    def put_aside(self, batch: Batch, error: str) -> None:
        """A record that the model does not answer, where the job wants the others all the same."""
        self.write(b"", "")
        if self._letters is None:
            key = self.location.key.removesuffix(".out") + DEAD_LETTERS
            self._letters = self._begin(key, "application/jsonlines")
        record = batch.originals[0] if batch.originals else batch.body
        letter = {
            "record": batch.first,
            "offset": batch.offset,
            "error": error,
            **_readable(record),
        }
        self._letters.write(msgspec.json.encode(letter) + b"\n")

    def commit(self) -> None:
        """What was put aside first: an output is never without it."""
        if self._letters is not None:
            self._letters.commit()
        if self._writer is not None:
            self._writer.commit()
        failpoint("transform.after-commit")

    def abort(self) -> None:
        """Idempotent; after ``commit`` nothing happens."""
        for writer in (self._letters, self._writer):
            if writer is not None:
                writer.abort()

    def _begin(self, key: str, content_type: str) -> ObjectWriter:
        bucket = self.location.bucket
        try:
            return self.objects.writer(bucket, key, content_type=content_type)
        except FileNotFoundError:
            raise ObjectFailed(f"there is no bucket {bucket} for its output") from None


def _readable(record: bytes) -> dict[str, str]:
    try:
        return {"data": record.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(record).decode()}
