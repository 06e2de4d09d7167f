"""Archives of bots: a zip of JSON files, made here or by anybody. Pure; nothing of it ever becomes a path on a disk."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from modelyard.services.lex.limits import ARCHIVE_BYTES, ARCHIVE_FILES, UNPACKED_BYTES

_EPOCH = (1980, 1, 1, 0, 0, 0)
_ENCRYPTED = 0x1
Files = dict[str, Any]
"""What each file holds, by its path; ``Manifest.json``."""


class BadArchive(Exception):
    """It is no archive of a bot; the text says why, to whoever sent it."""


def pack(files: Mapping[str, Any]) -> bytes:
    """The same files are the same bytes. Raises ``BadArchive`` where it would be too large to be read again."""
    if len(files) > ARCHIVE_FILES:
        raise BadArchive(f"The archive would have more than {ARCHIVE_FILES} files.")
    out, size = io.BytesIO(), 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            data = json.dumps(files[name], indent=1, ensure_ascii=False).encode()
            size += len(data)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    if size > UNPACKED_BYTES or out.tell() > ARCHIVE_BYTES:
        raise BadArchive(f"The archive would have more than {UNPACKED_BYTES} bytes.")
    return out.getvalue()


def unpack(data: bytes) -> Files:
    """The JSON files; others are passed over. Raises ``BadArchive``."""
    if len(data) > ARCHIVE_BYTES:
        raise BadArchive(f"The archive is larger than {ARCHIVE_BYTES} bytes.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            known = archive.infolist()
            _check(known)
            return {
                one.filename: _read(archive, one)
                for one in known
                if one.filename.endswith(".json") and not one.is_dir()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise BadArchive(f"The file is not a readable zip archive: {error}.") from None


def _check(known: list[zipfile.ZipInfo]) -> None:
    """Before anything is unpacked: what the directory says is the most that will be read."""
    if len(known) > ARCHIVE_FILES:
        raise BadArchive(f"The archive has more than {ARCHIVE_FILES} files.")
    if sum(one.file_size for one in known) > UNPACKED_BYTES:
        raise BadArchive(f"The archive unpacks to more than {UNPACKED_BYTES} bytes.")
    names = set()
    for one in known:
        path = PurePosixPath(one.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in one.filename or "\0" in one.filename:
            raise BadArchive(f"The archive has a file outside of it: {one.filename[:100]!r}.")
        if one.flag_bits & _ENCRYPTED:
            raise BadArchive("The archive is encrypted, which is not supported.")
        if one.filename in names:
            raise BadArchive(f"The archive has two files {one.filename[:100]}.")
        names.add(one.filename)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) > info.file_size:
        raise BadArchive(f"{info.filename} is larger than the archive says.")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadArchive(f"{info.filename} is not JSON: {error}.") from None
