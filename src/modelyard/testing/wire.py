"""A client's transport without a socket, for protocols of the gateway's."""


class Wire:
    """Keeps what is written; nothing may be after it was closed."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_reading = True
        self.unread = 0
        """Bytes that the client has not taken."""
        self.is_aborted = False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        """The peer; there is nothing else."""
        return ("127.0.0.1", 9) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.is_closed, "nothing is written to a closed connection"
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        """What a closed one still waits for."""
        return self.unread

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True
