"""Formats of a database: an ordered list of steps, applied once each, and a refusal of what is newer.

The number of applied steps is the database's format version. A step is never changed once it was released; a change
of the tables is a new step at the end. All steps that are due run in one transaction, so a killed migration has not
happened.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Column, Connection, Integer, MetaData, Table, insert, select, update

Migration = Callable[[Connection], None]

_metadata = MetaData()
_format = Table("format", _metadata, Column("version", Integer, nullable=False))


class FormatTooNew(Exception):
    """A later Modelyard wrote the database; this one would not understand it."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database has format {found}, this Modelyard knows formats up to {known}: "
            "use the Modelyard that wrote it, or a newer one"
        )
        self.found = found
        self.known = known


def migrate(connection: Connection, steps: Sequence[Migration]) -> int:
    """Bring the database to format ``len(steps)`` in the caller's transaction; returns the format found.

    Raises ``FormatTooNew`` without a change.
    """
    _metadata.create_all(connection)
    found = connection.execute(select(_format.c.version)).scalar_one_or_none()
    if found is None:
        found = 0
        connection.execute(insert(_format).values(version=0))
    if found > len(steps):
        raise FormatTooNew(found, len(steps))
    for step in steps[found:]:
        step(connection)
    if found < len(steps):
        connection.execute(update(_format).values(version=len(steps)))
    return found
