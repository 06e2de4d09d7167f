"""The resource store on SQLite; its table and statements are those of ``resource_table.py``.

::

    write() ──► bounded queue ──► writer thread: [savepoint … savepoint] one COMMIT (fsync) ──► loop: answers, listeners
    get(), list() ──► reader connection, on the caller's thread

Group commit: all writes that wait are applied one after the other, each within a savepoint of its own, and made
durable by one COMMIT. One write's conflict rolls back its savepoint and touches no other; a full disk fails the whole
group and nothing of it is applied. An answer is given only after the COMMIT, so the reader connection, which begins a
new snapshot with every statement, sees all that was acknowledged.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.failpoint import failpoint
from modelyard.store import resource_table as table
from modelyard.store.migrations import Migration, migrate
from modelyard.store.resources import (
    CASE_BLIND,
    AlreadyExists,
    Change,
    Create,
    Delete,
    Key,
    Resource,
    Update,
    VersionConflict,
)

_QUEUE_LIMIT = 10_000
_LAST_CHARACTER = "\U0010ffff"
_GROUP_LIMIT = 512
_REMEMBERED_SECONDS = 60.0
_REMEMBERED_COMMITS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """A change with its JSON as text, made on the caller's thread, so that later edits of its dicts do no harm."""

    change: Change
    spec: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """A waiting write; ``changes`` None empties the store."""

    changes: Sequence[_Encoded] | None
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Sequence[Row[Any]]]


Outcome = Sequence[Row[Any]] | Exception


class Deposed(ServiceError):
    """Another process has taken the lease since this one opened the store: nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "ServiceUnavailable", "Another control process has taken over; try again.", status=503
        )


class SqliteResourceStore:
    """``ResourceStore`` in one file. Reads and ``write`` belong to one event loop.

    ``case_blind`` are the kinds whose names may not differ by case alone; it must not change over a database's life.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        case_blind: Collection[str] = CASE_BLIND,
        queue_limit: int = _QUEUE_LIMIT,
        migrations: Sequence[Migration] = table.MIGRATIONS,
        deposed: Callable[[], None] | None = None,
    ) -> None:
        """Open or create. Raises ``FormatTooNew``.

        With ``deposed``, opening takes over: whoever did so before writes no more, and is told by its own ``deposed``, on the
        writer's thread. Without, it reads and writes whoever leads.
        """
        self._deposed = deposed
        self._epoch = 0
        self._path = path
        self._clock = clock
        self._case_blind = frozenset(case_blind)
        self._listeners: list[Callable[[Key], None]] = []
        self._queue: queue.Queue[_Write | None] = queue.Queue(maxsize=queue_limit)
        self._closed = False
        self._commits: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED_COMMITS)
        self._commit_began: float | None = None
        if not path.exists():
            # It holds secrets of access keys; SQLite gives its companions (-wal, -shm) the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with ExitStack() as undo:
            self._writer = undo.enter_context(table.open_database(path, writes=True).connect())
            with self._writer.begin():
                migrate(self._writer, migrations)
                if deposed is not None:
                    self._writer.execute(table.RAISE_EPOCH)
                    self._epoch = self._writer.execute(table.EPOCH).scalar_one()
                self._version: int = self._writer.execute(
                    select(table.COUNTER.c.version)
                ).scalar_one()
            self._reader = table.open_database(path, writes=False).connect()
            undo.pop_all()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def get(self, key: Key) -> Resource | None:
        """The resource, or None."""
        row = self._reader.execute(table.SELECT, self._of(key)).first()
        return None if row is None else table.resource_of(row)

    def versions(self, kind: str) -> Mapping[Key, int]:
        """The version of each of a kind, of all accounts and regions: what ``list`` has, without reading it."""
        rows = self._reader.execute(table.VERSIONS, {"of_kind": kind})
        return {
            Key(kind=kind, account=account, region=region, name=name): version
            for account, region, name, version in rows
        }

    def list(
        self,
        kind: str,
        *,
        account: str | None = None,
        region: str | None = None,
        prefix: str = "",
    ) -> Sequence[Resource]:
        """All of a kind whose names begin with ``prefix``, by name; of all accounts and regions unless given."""
        statement = select(*table.COLUMNS).where(table.RESOURCES.c.kind == kind)
        if account is not None:
            statement = statement.where(table.RESOURCES.c.account == account)
        if region is not None:
            statement = statement.where(table.RESOURCES.c.region == region)
        if prefix:
            first = prefix.lower() if kind in self._case_blind else prefix
            statement = statement.where(
                table.RESOURCES.c.identity >= first,
                table.RESOURCES.c.identity < first + _LAST_CHARACTER,
            )
        found = [table.resource_of(row) for row in self._reader.execute(statement)]
        # Sorted here, because databases disagree about the order of texts.
        return sorted(
            (one for one in found if one.key.name.startswith(prefix)),
            key=lambda one: (one.key.name, one.key.account, one.key.region),
        )

    async def write(self, *changes: Change) -> Sequence[Resource]:
        """Apply all or none; durable on return. The written resources in order (of a Delete: as it was).

        Raises ``AlreadyExists``, ``VersionConflict``, or a ``ServiceError`` of fault ``server`` when nothing was
        written. A caller that is cancelled while it waits may or may not have written.
        """
        if not changes:
            return ()
        rows = await self._submit([_encode(change) for change in changes])
        return [table.resource_of(row) for row in rows]

    async def clear(self) -> None:
        """Delete everything, at once; versions go on rising."""
        await self._submit(None)

    def subscribe(self, listener: Callable[[Key], None]) -> None:
        """Call ``listener`` on the event loop after each committed change; it must not raise."""
        self._listeners.append(listener)

    def backup(self, target: Path) -> None:
        """Copy a consistent state to ``target`` while the store is in use. Blocking: call it in a thread."""
        with (
            closing(sqlite3.connect(self._path)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)

    def slowest_write(self) -> float:
        """Seconds that the slowest commit of the last minute took, the one under way included."""
        now = self._clock.monotonic()
        began = self._commit_began
        times = [took for at, took in tuple(self._commits) if now - at < _REMEMBERED_SECONDS]
        return max([*times, now - began if began is not None else 0.0])

    def close(self) -> None:
        """Finish the writes that wait, and close; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _of(self, key: Key) -> dict[str, Any]:
        return {
            "of_kind": key.kind,
            "of_account": key.account,
            "of_region": key.region,
            "of_identity": key.name.lower() if key.kind in self._case_blind else key.name,
            "of_name": key.name,
        }

    async def _submit(self, changes: Sequence[_Encoded] | None) -> Sequence[Row[Any]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Row[Any]]] = loop.create_future()
        if self._closed:
            raise _failure("the platform is shutting down", status=503)
        try:
            self._queue.put_nowait(_Write(changes=changes, loop=loop, answer=answer))
        except queue.Full:
            raise _failure("too many writes are waiting", status=503) from None
        return await answer

    # What follows, up to _deliver, runs on the writer thread.

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            ending = False
            while len(group) < _GROUP_LIMIT and not ending:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ending = True
                else:
                    group.append(more)
            self._commit_began = began = self._clock.monotonic()
            outcomes = self._commit(group)
            self._commit_began = None
            now = self._clock.monotonic()
            self._commits.append((now, now - began))
            for write, outcome in zip(group, outcomes, strict=True):
                with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                    write.loop.call_soon_threadsafe(self._deliver, write, outcome)
            if ending:
                return

    def _commit(self, group: Sequence[_Write]) -> Sequence[Outcome]:
        before = self._version
        try:
            with self._writer.begin():
                self._check_epoch()
                outcomes = [self._apply(write) for write in group]
                if self._version != before:
                    self._writer.execute(table.SAVE_COUNTER, {"new_version": self._version})
                failpoint("store.before-commit")
        except Deposed as error:
            return [error] * len(group)
        except (SQLAlchemyError, OSError) as error:
            self._version = before
            return [_failure(str(getattr(error, "orig", None) or error))] * len(group)
        with suppress(
            OSError
        ):  # what is committed stays committed; only a kill means something here
            failpoint("store.after-commit")
        return outcomes

    def _check_epoch(self) -> None:
        """Within the transaction of the writes: there is no moment between the question and the commit."""
        if (
            self._deposed is not None
            and self._writer.execute(table.EPOCH).scalar_one() != self._epoch
        ):
            self._deposed()
            raise Deposed

    def _apply(self, write: _Write) -> Outcome:
        before = self._version
        try:
            with self._writer.begin_nested():
                if write.changes is None:
                    self._version += 1
                    return self._writer.execute(table.DELETE_ALL).all()
                return [self._change(encoded) for encoded in write.changes]
        except (SQLAlchemyError, OSError):
            raise  # The whole group's.
        except Exception as error:  # noqa: BLE001 - a conflict, or a name that no database takes: this write's alone
            self._version = before
            return error

    def _change(self, encoded: _Encoded) -> Row[Any]:
        self._version += 1
        of = self._of(encoded.change.key)
        match encoded.change:
            case Create():
                return self._insert(encoded, of)
            case Update(version=version):
                values = of | {
                    "of_version": version,
                    "new_version": self._version,
                    "now": self._clock.now(),
                    "new_spec": encoded.spec,
                    "new_status": encoded.status,
                }
                row = self._writer.execute(table.UPDATE, values).first()
            case Delete(version=None):
                row = self._writer.execute(table.DELETE, of).first()
            case Delete(version=version):
                row = self._writer.execute(
                    table.DELETE_VERSION, of | {"of_version": version}
                ).first()
        if row is None:
            raise VersionConflict(encoded.change.key)
        return row

    def _insert(self, encoded: _Encoded, of: dict[str, Any]) -> Row[Any]:
        now = self._clock.now()
        values = {name.removeprefix("of_"): value for name, value in of.items()} | {
            "version": self._version,
            "created_at": now,
            "updated_at": now,
            "spec": encoded.spec,
            "status": encoded.status,
        }
        try:
            return self._writer.execute(table.INSERT, values).one()
        except IntegrityError:
            raise AlreadyExists(encoded.change.key) from None

    def _deliver(self, write: _Write, outcome: Outcome) -> None:
        """On the loop. Listeners come before the waiter, which resumes in a later turn."""
        waits = (
            not write.answer.done()
        )  # a cancelled caller has gone; its change is committed all the same
        if isinstance(outcome, Exception):
            if waits:
                write.answer.set_exception(outcome)
            return
        if waits:
            write.answer.set_result(outcome)
        for row in outcome:
            for listener in self._listeners:
                listener(table.key_of(row))


def _encode(change: Change) -> _Encoded:
    match change:
        case Create():
            return _Encoded(change=change, spec=_json(change.spec), status=_json(change.status))
        case Update():
            return _Encoded(
                change=change,
                spec=None if change.spec is None else _json(change.spec),
                status=None if change.status is None else _json(change.status),
            )
        case Delete():
            return _Encoded(change=change)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _failure(reason: str, *, status: int = 500) -> ServiceError:
    code = "InternalFailure" if status == 500 else "ServiceUnavailable"
    return ServiceError(code, f"The state could not be saved: {reason}.", status=status)
