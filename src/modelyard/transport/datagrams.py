"""Sockets for short words between the platform's own processes: a datagram each; what nobody takes is said again."""

import socket
from pathlib import Path


def bound(path: Path) -> socket.socket:
    """To receive on, and to be answered at; takes the place of one that an earlier process left. Only its user may send to it."""
    path.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(str(path))
    path.chmod(0o600)
    found.setblocking(False)
    return found
