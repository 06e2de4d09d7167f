"""The documents of a job, from objects; and what is said of them, to objects. Blocking, for threads."""

import gzip
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from modelyard.services.job_objects import Objects, input_files, write_object
from modelyard.store.resources import Json

PER_LINE, PER_FILE = "ONE_DOC_PER_LINE", "ONE_DOC_PER_FILE"
EMPTY = "EMPTY_DOCUMENT"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """``line`` is None where a file is one document; ``error`` says why there is no text."""

    file: str
    line: int | None
    text: str = ""
    error: tuple[str, str] | None = None

    @property
    def place(self) -> Json:
        """File and line, as results name them."""
        return {"File": self.file} if self.line is None else {"File": self.file, "Line": self.line}


def documents(
    objects: Objects, uri: str, *, form: str, limit: int, without: str = ""
) -> Iterator[Document]:
    """Every document below an address, file by file, but for the job's own output. Raises ``JobFailed`` where there is none."""
    for name, file in input_files(objects, uri, without=without):
        yield from _of_file(file, name, form, limit)


def _of_file(file: IO[bytes], name: str, form: str, limit: int) -> Iterator[Document]:
    if form == PER_FILE:
        yield _document(file.read(limit + 1), name, None, limit)
        return
    number = 0
    while line := file.readline(limit + 2):
        is_whole = line.endswith(b"\n")
        if not is_whole and len(line) > limit:
            _skip_line(file)
        yield _document(line.rstrip(b"\r\n"), name, number, limit)
        number += 1


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(_CHUNK)) and not rest.endswith(b"\n"):
        pass


def _document(data: bytes, name: str, line: int | None, limit: int) -> Document:
    if len(data) > limit:
        error = "DOCUMENT_SIZE_EXCEEDED", f"Document size exceeds limit {limit} bytes."
        return Document(file=name, line=line, error=error)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        error = "INVALID_ENCODING", "The document is not UTF-8."
        return Document(file=name, line=line, error=error)
    if not text.strip():
        return Document(file=name, line=line, error=(EMPTY, "The document is empty."))
    return Document(file=name, line=line, text=text)


class Archive:
    """``output.tar.gz`` with one file: a line of JSON a document."""

    def __init__(self, objects: Objects, uri: str, scratch: Path, file: str = "output") -> None:
        self._objects, self._uri, self._scratch, self._file = objects, uri, scratch, file
        self._lines = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by ``close``

    def add(self, document: Document, said: Json | str) -> None:
        """One line."""
        self._lines.write(msgspec.json.encode(said) + b"\n")

    def finish(self) -> None:
        """Write the object, whole. Raises ``JobFailed``."""
        size = self._lines.tell()
        self._lines.seek(0)
        write_archive(self._objects, self._uri, self._scratch, {self._file: (self._lines, size)})

    def close(self) -> None:
        """Let go of the lines."""
        self._lines.close()


def write_archive(
    objects: Objects, uri: str, scratch: Path, members: Mapping[str, tuple[IO[bytes], int]]
) -> None:
    """A compressed archive of files and their sizes, whole or not at all. Raises ``JobFailed``."""
    with tempfile.TemporaryFile(dir=scratch) as packed:
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as squeezed,
            tarfile.open(fileobj=squeezed, mode="w") as archive,
        ):
            for name, (file, size) in members.items():
                about = tarfile.TarInfo(name)
                about.size = size
                archive.addfile(about, file)
        packed.seek(0)
        write_object(objects, uri, packed, "application/gzip")


class FileByFile:
    """``FILE.out`` beside each other below the output's address: what is said of the file's documents, line by line.

    A long file's is kept on the disk until it is whole.
    """

    def __init__(self, objects: Objects, uri: str, scratch: Path) -> None:
        self._objects, self._uri, self._scratch = objects, uri, scratch
        self._file: str | None = None
        self._text = self._begun()

    def _begun(self) -> IO[bytes]:
        return tempfile.SpooledTemporaryFile(_CHUNK, dir=str(self._scratch))

    def add(self, document: Document, said: Json | str) -> None:
        """One line, of the file that the last one was of, or of the next."""
        if document.file != self._file:
            self._put()
            self._file = document.file
        self._text.write(said.encode() if isinstance(said, str) else msgspec.json.encode(said))
        if document.line is not None or not isinstance(said, str):
            self._text.write(b"\n")

    def finish(self) -> None:
        """Write the last file. Raises ``JobFailed``."""
        self._put()

    def _put(self) -> None:
        if self._file is not None:
            self._text.seek(0)
            write_object(self._objects, f"{self._uri}{self._file}.out", self._text, "text/plain")
        self._text.close()
        self._text = self._begun()

    def close(self) -> None:
        """Let go of what was not written."""
        self._text.close()
