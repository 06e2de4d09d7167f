"""Which other S3 holds models, inputs and outputs, if one does: a value in a file, and the way to its objects.

botocore is imported by those only who have another S3: it triples the time in which a job starts and doubles its memory.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from modelyard.store.external_objects import ExternalObjects


class ExternalS3(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is, and as whom it is asked; kept in ``<home>/external-s3.json`` (mode 600)."""

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def save(self, path: Path) -> None:
        """Readable by its user only."""
        descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self))
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """What ``save`` left; None where it did not."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None


def open_external(file: Path, folder: Path) -> "ExternalObjects | None":
    """The objects of the S3 that ``file`` names; None where there is no file: the platform's own store holds them.

    ``folder`` is where fetched artifacts are kept.
    """
    where = ExternalS3.load(file)
    if where is None:
        return None
    from modelyard.store.external_objects import ExternalObjects

    return ExternalObjects(where, folder)
