"""How long a group's events are kept: what is older goes, some at a time, on the way of writes."""

import sqlite3

DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""AWS takes these."""
EXPIRE_SECONDS = 600.0
"""A writer looks so often for what has expired; AWS promises three days."""
EXPIRED_MAX = 20_000
"""Events that one look deletes."""
_DAY_MS = 24 * 3600 * 1000


def set_days(connection: sqlite3.Connection, group: int, days: int | None) -> None:
    connection.execute("UPDATE log_groups SET retention_days = ? WHERE id = ?", (days, group))


def expire(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Delete what no group keeps any longer; whether there is more of it than one look deletes."""
    left = EXPIRED_MAX
    rows = connection.execute(
        "SELECT s.id, g.retention_days FROM log_groups g JOIN log_streams s ON s.group_id = g.id"
        " WHERE g.retention_days IS NOT NULL"
    ).fetchall()
    for stream, days in rows:
        left -= _expire_stream(connection, stream, now_ms - days * _DAY_MS, left)
        if left <= 0:
            return True
    return False


def _expire_stream(connection: sqlite3.Connection, stream: int, first_ms: int, limit: int) -> int:
    gone = connection.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE stream_id = ? AND ms < ? ORDER BY ms, id"
        " LIMIT ?) RETURNING size",
        (stream, first_ms, limit),
    ).fetchall()
    if gone:
        connection.execute(
            "UPDATE log_streams SET bytes = bytes - ?,"
            " first_ms = (SELECT min(ms) FROM events WHERE stream_id = ?) WHERE id = ?",
            (sum(size for (size,) in gone), stream, stream),
        )
    return len(gone)
