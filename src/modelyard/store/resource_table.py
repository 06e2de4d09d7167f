"""The table of resources: its columns and format, the statements on it, and its database on SQLite.

In SQLAlchemy Core, so that PostgreSQL can take SQLite's place.
"""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    NullPool,
    Row,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)

from modelyard.store.migrations import Migration
from modelyard.store.resources import Key, Resource

_BUSY_MILLISECONDS = 10_000

_metadata = MetaData()
RESOURCES = Table(
    "resources",
    _metadata,
    Column("kind", String, primary_key=True),
    Column("account", String, primary_key=True),
    Column("region", String, primary_key=True),
    # The name as it is compared: lower-cased for the kinds in ``case_blind``.
    Column("identity", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", Text, nullable=False),
)
# The highest version ever given, which outlives the resources: a name that is deleted and created again
# never meets a version that an old reader still holds.
COUNTER = Table("counter", _metadata, Column("version", Integer, nullable=False))
# Raised by each taking of the lease (``lease.py``): who was deposed without knowing it writes no more.
_leadership = Table("leadership", _metadata, Column("epoch", Integer, nullable=False))
COLUMNS = tuple(column for column in RESOURCES.c if column.name != "identity")

# Statements are built once: SQLAlchemy takes longer to build one than SQLite to run it.
_IS_KEY = (
    RESOURCES.c.kind == bindparam("of_kind"),
    RESOURCES.c.account == bindparam("of_account"),
    RESOURCES.c.region == bindparam("of_region"),
    RESOURCES.c.identity == bindparam("of_identity"),
    RESOURCES.c.name == bindparam("of_name"),
)
_IS_VERSION = RESOURCES.c.version == bindparam("of_version")
SELECT = select(*COLUMNS).where(*_IS_KEY)
VERSIONS = select(
    RESOURCES.c.account, RESOURCES.c.region, RESOURCES.c.name, RESOURCES.c.version
).where(RESOURCES.c.kind == bindparam("of_kind"))
INSERT = insert(RESOURCES).returning(*COLUMNS)
UPDATE = (
    update(RESOURCES)
    .where(*_IS_KEY, _IS_VERSION)
    .values(
        version=bindparam("new_version"),
        updated_at=bindparam("now"),
        spec=func.coalesce(bindparam("new_spec", type_=Text), RESOURCES.c.spec),
        status=func.coalesce(bindparam("new_status", type_=Text), RESOURCES.c.status),
    )
    .returning(*COLUMNS)
)
DELETE = delete(RESOURCES).where(*_IS_KEY).returning(*COLUMNS)
DELETE_VERSION = delete(RESOURCES).where(*_IS_KEY, _IS_VERSION).returning(*COLUMNS)
DELETE_ALL = delete(RESOURCES).returning(*COLUMNS)
EPOCH = select(_leadership.c.epoch)
RAISE_EPOCH = update(_leadership).values(epoch=_leadership.c.epoch + 1)
SAVE_COUNTER = update(COUNTER).values(version=bindparam("new_version"))


def _create_tables(connection: Connection) -> None:
    _metadata.create_all(connection, tables=[RESOURCES, COUNTER])
    connection.execute(insert(COUNTER).values(version=0))


def _create_leadership(connection: Connection) -> None:
    _leadership.create(connection)
    connection.execute(insert(_leadership).values(epoch=0))


MIGRATIONS: tuple[Migration, ...] = (_create_tables, _create_leadership)
"""Format 1 is the first; 2 knows who may write."""


def open_database(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        # Python's module would begin transactions by itself, and too late for savepoints.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    if writes:
        event.listen(engine, "begin", _begin)
        return engine
    # A reader holds no snapshot from one statement to the next.
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def key_of(row: Row[Any]) -> Key:
    return Key(kind=row.kind, account=row.account, region=row.region, name=row.name)


def resource_of(row: Row[Any]) -> Resource:
    return Resource(
        key=key_of(row),
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        spec=msgspec.json.decode(row.spec),
        status=msgspec.json.decode(row.status),
    )
