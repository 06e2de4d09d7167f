"""Metrics: an SQLite file of its own. A point is the summary of one period of one series, at four resolutions.

Every value goes into its second (where the client asked for high resolution), its minute, its five minutes and its hour at once;
each resolution is kept for as long as CloudWatch keeps it. Methods block and may be called from any thread. A power cut may take
the last moments with it (``synchronous=NORMAL``), a killed process takes nothing that ``put`` returned for.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.domain.metrics import Dimensions, Summary, regroup
from modelyard.store.opening import open_migrated

RETENTION = {1: 3 * 3600, 60: 15 * 86_400, 300: 63 * 86_400, 3600: 455 * 86_400}
"""Seconds that points of each resolution are kept."""
LISTED_SECONDS = 14 * 86_400
SERIES_MAX = 100_000
HISTORY_SECONDS = 30 * 86_400
_TRIM_EVERY = 500
_MIGRATIONS = (
    """
    CREATE TABLE series (
      id INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, namespace TEXT NOT NULL,
      name TEXT NOT NULL, dimensions TEXT NOT NULL, unit TEXT NOT NULL, last_at INTEGER NOT NULL,
      UNIQUE (account, region, namespace, name, dimensions, unit));
    CREATE TABLE points (
      series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE, resolution INTEGER NOT NULL,
      at INTEGER NOT NULL, summary BLOB NOT NULL, PRIMARY KEY (series, resolution, at)) WITHOUT ROWID;
    CREATE INDEX points_by_age ON points (resolution, at);
    CREATE TABLE alarm_history (
      id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, region TEXT NOT NULL,
      name TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, summary TEXT NOT NULL, data TEXT NOT NULL);
    CREATE INDEX history_by_name ON alarm_history (account, region, name, at);
    """,
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Summary).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Identity of a metric: of all the series that differ in nothing but their unit."""

    account: str
    region: str
    namespace: str
    name: str
    dimensions: Dimensions = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """A summary of what happened in second ``at``."""

    metric: Metric
    at: int
    summary: Summary
    unit: str = "None"
    is_high_resolution: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One thing that happened to an alarm."""

    name: str
    at: float
    kind: str
    summary: str
    data: str


class MetricsNotKept(Exception):
    """The store could not take them: the disk is full, or does not answer."""


class TooManyMetrics(MetricsNotKept):
    """The store holds as many series as it may."""


class MetricStore:
    """Opens or creates the file."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = open_migrated(path, _MIGRATIONS, synchronous="NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._puts = 0

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock, self._transaction():
            for table in ("points", "series", "alarm_history"):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - three names of ours

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)

    def put(self, data: Iterable[Datum], *, now: float) -> None:
        """Add them to what is there, all or none. Raises ``MetricsNotKept``, of which ``TooManyMetrics`` is one."""
        try:
            self._put(data, now)
        except sqlite3.Error as error:
            raise MetricsNotKept(f"metrics.db does not take them: {error}") from error

    def _put(self, data: Iterable[Datum], now: float) -> None:
        with self._lock, self._transaction():
            for datum in data:
                series = self._series(datum)
                for resolution in RETENTION:
                    if resolution == 1 and not datum.is_high_resolution:
                        continue
                    if datum.at >= now - RETENTION[resolution]:
                        self._add(series, resolution, datum)
            self._puts += 1
            if self._puts % _TRIM_EVERY == 1:
                self._trim(now)

    def _series(self, datum: Datum) -> int:
        metric = datum.metric
        key = (*_row(metric), datum.unit)
        found = self._connection.execute(
            "UPDATE series SET last_at = max(last_at, ?) WHERE account = ? AND region = ? AND namespace = ?"
            " AND name = ? AND dimensions = ? AND unit = ? RETURNING id",
            (datum.at, *key),
        ).fetchone()
        if found is None:
            (count,) = self._connection.execute("SELECT count(*) FROM series").fetchone()
            if count >= SERIES_MAX:
                raise TooManyMetrics(f"There are {count} metrics; no more are taken.")
            found = self._connection.execute(
                "INSERT INTO series (account, region, namespace, name, dimensions, unit, last_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (*key, datum.at),
            ).fetchone()
        return int(found[0])

    def _add(self, series: int, resolution: int, datum: Datum) -> None:
        at = datum.at // resolution * resolution
        key = (series, resolution, at)
        found = self._connection.execute(
            "SELECT summary FROM points WHERE series = ? AND resolution = ? AND at = ?", key
        ).fetchone()
        summary = Summary()
        if found is not None:
            summary.merge(_decode(found[0]))
        summary.merge(datum.summary)
        self._connection.execute(
            "INSERT INTO points (series, resolution, at, summary) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET summary = excluded.summary",
            (*key, _encode(summary)),
        )

    def _trim(self, now: float) -> None:
        for resolution, seconds in RETENTION.items():
            self._connection.execute(
                "DELETE FROM points WHERE resolution = ? AND at < ?",
                (resolution, int(now - seconds)),
            )
        self._connection.execute(
            "DELETE FROM series WHERE last_at < ?", (int(now - RETENTION[3600]),)
        )
        self._connection.execute("DELETE FROM alarm_history WHERE at < ?", (now - HISTORY_SECONDS,))

    def read(
        self, metric: Metric, *, start: float, end: float, period: int, now: float, unit: str = ""
    ) -> Mapping[int, Summary]:
        """By the beginning of each period that has data; ``start`` inclusive, ``end`` exclusive.

        Of all units together, unless one is named.
        """
        resolution = _resolution(period, start, now)
        first = int(start) // period * period
        rows = self._query(
            "SELECT at, summary FROM points JOIN series ON series.id = points.series"
            " WHERE account = ? AND region = ? AND namespace = ? AND name = ? AND dimensions = ?"
            " AND (? = '' OR unit = ?) AND resolution = ? AND at >= ? AND at < ? ORDER BY at",
            (*_row(metric), unit, unit, resolution, first, end),
        )
        return regroup(((at, _decode(summary)) for at, summary in rows), max(period, resolution))

    def units(self, metric: Metric) -> Sequence[str]:
        """The units that the metric was given in."""
        rows = self._query(
            "SELECT unit FROM series WHERE account = ? AND region = ? AND namespace = ? AND name = ?"
            " AND dimensions = ? ORDER BY last_at DESC",
            _row(metric),
        )
        return [unit for (unit,) in rows]

    def metrics(
        self, account: str, region: str, *, since: float, namespace: str = "", name: str = ""
    ) -> Sequence[Metric]:
        """Those that had data since then, in order."""
        rows = self._query(
            "SELECT DISTINCT namespace, name, dimensions FROM series WHERE account = ? AND region = ?"
            " AND last_at >= ? AND (? = '' OR namespace = ?) AND (? = '' OR name = ?)"
            " ORDER BY namespace, name, dimensions",
            (account, region, since, namespace, namespace, name, name),
        )
        return [
            Metric(
                account=account,
                region=region,
                namespace=found,
                name=called,
                dimensions=tuple((one, value) for one, value in json.loads(dimensions)),
            )
            for found, called, dimensions in rows
        ]

    def record(self, account: str, region: str, items: Iterable[HistoryItem]) -> None:
        """Write down what happened to alarms."""
        rows = [
            (account, region, item.name, item.at, item.kind, item.summary, item.data)
            for item in items
        ]
        with self._lock, self._transaction():
            self._connection.executemany(
                "INSERT INTO alarm_history (account, region, name, at, kind, summary, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def history(self, account: str, region: str, name: str = "") -> Sequence[HistoryItem]:
        """Newest first; of one alarm, or of all."""
        rows = self._query(
            "SELECT name, at, kind, summary, data FROM alarm_history WHERE account = ? AND region = ?"
            " AND (? = '' OR name = ?) ORDER BY at DESC, id DESC LIMIT 10000",
            (account, region, name, name),
        )
        return [
            HistoryItem(name=called, at=at, kind=kind, summary=summary, data=data)
            for called, at, kind, summary, data in rows
        ]

    def _query(self, sql: str, values: Sequence[object]) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, tuple(values)).fetchall()


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._roll_back()
            return
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # A full disk has rolled back by itself.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _row(metric: Metric) -> tuple[str, str, str, str, str]:
    dimensions = json.dumps(sorted(metric.dimensions))
    return metric.account, metric.region, metric.namespace, metric.name, dimensions


def _resolution(period: int, start: float, now: float) -> int:
    """The finest that is kept for so long and fits the period."""
    age = now - start
    for resolution, seconds in RETENTION.items():
        if period % resolution == 0 and age <= seconds and (resolution > 1 or period < 60):
            return resolution
    return 3600 if period >= 3600 else 300 if period >= 300 else 60
