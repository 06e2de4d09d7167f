"""How much of what was written to a client it has not taken yet.

A transport's own buffer does not tell: a socket takes more only once a third of what it holds is gone, which may be megabytes,
and for minutes nothing seems to move though the client reads.
"""

import asyncio
import fcntl
import sys
import termios
from contextlib import suppress


def bytes_untaken(transport: asyncio.Transport) -> int:
    """In the transport, and in the socket below it where the system tells."""
    count = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError, ValueError):
            told = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
            count += int.from_bytes(told, sys.byteorder)
    return count
