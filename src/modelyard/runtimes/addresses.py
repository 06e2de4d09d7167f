"""Where a worker listens. Socket paths are short: the kernel takes 107 bytes."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from modelyard.base.settings import Home

PATH_LIMIT = 100


def worker_address(home: Home, process_id: str) -> str:
    """``unix:/path`` of a worker's socket, in the home or, where its path is too long, in a private short folder."""
    path = home.run / "w" / f"{process_id}.sock"
    if len(os.fsencode(path)) > PATH_LIMIT:
        digest = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:12]
        base = tempfile.gettempdir()
        path = Path(base) / f"modelyard-{os.getuid()}-{digest}" / f"{process_id}.sock"
    return f"unix:{path}"


def make_folder(address: str) -> None:
    """Create the socket's folder, private to the user. Raises ``PermissionError`` if it belongs to another."""
    folder = Path(address.removeprefix("unix:")).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{folder} belongs to another user")


def remove(address: str) -> None:
    """Remove the socket of a worker that has ended."""
    Path(address.removeprefix("unix:")).unlink(missing_ok=True)
