"""What was used is counted once, together with what came at the same time, and survives."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from modelyard.store.usage import REMEMBERED_SECONDS, Usage, UsageStore

NOW = 1_700_000_000.0


def used(quantity: float = 3, **other: str) -> Usage:
    given = {
        "account": "1", "region": "r", "day": "2026-01-31", "service": "comprehend", "operation": "DetectSentiment",
        "usage_type": "DetectSentiment", "unit": "Unit", **other,
    }  # fmt: skip
    return Usage(quantity=quantity, **given)  # type: ignore[arg-type]


def test_uses_are_added_up_and_a_repeat_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = UsageStore(tmp_path / "usage.db")
        ids = [f"id-{n % 50}" for n in range(100)]
        await asyncio.gather(*(store.record(one, used(), now=NOW) for one in ids))
        await store.record("id-7", used(), now=NOW)
        await store.record("other", used(day="2026-02-01"), now=NOW)
        store.close()

    asyncio.run(scenario())
    store = UsageStore(tmp_path / "usage.db")
    found = store.read("1", start="2026-01-01", end="2026-02-01")
    assert [(one.quantity, one.requests) for one in found] == [(150.0, 50)]
    assert len(store.read("1", start="2026-01-01", end="2026-03-01")) == 2
    assert store.read("2", start="2026-01-01", end="2026-03-01") == []
    store.clear()
    assert store.read("1", start="2026-01-01", end="2026-03-01") == []
    store.close()


def test_ids_are_forgotten_after_a_day(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = UsageStore(tmp_path / "usage.db")
        await store.record("one", used(), now=NOW)
        for n in range(1_000):
            await store.record(f"n{n}", used(), now=NOW + REMEMBERED_SECONDS + 1)
        store.close()

    asyncio.run(scenario())
    connection = sqlite3.connect(tmp_path / "usage.db")
    assert connection.execute("SELECT count(*) FROM recorded WHERE id = 'one'").fetchone() == (0,)
    connection.close()


def test_who_waits_for_a_write_that_fails_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = UsageStore(tmp_path / "usage.db")
        broken = sqlite3.connect(tmp_path / "usage.db")
        broken.execute("DROP TABLE used")
        broken.close()
        outcomes = await asyncio.gather(
            *(store.record(f"{n}", used(), now=NOW) for n in range(3)), return_exceptions=True
        )
        assert all(isinstance(one, sqlite3.Error) for one in outcomes)
        store.close()

    asyncio.run(scenario())


def test_a_use_that_cannot_be_written_stops_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = UsageStore(tmp_path / "usage.db")
        with pytest.raises(UnicodeEncodeError):  # No error of the store's.
            await store.record("\ud800", used(), now=NOW)
        async with asyncio.timeout(60):
            await store.record("one", used(), now=NOW)
        assert [one.requests for one in store.read("1", start="2026-01-01", end="2026-03-01")] == [
            1
        ]
        store.close()

    asyncio.run(scenario())


def test_a_caller_that_leaves_disturbs_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = UsageStore(tmp_path / "usage.db")
        tasks = [asyncio.ensure_future(store.record(f"{n}", used(), now=NOW)) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in outcomes] == [type(None), asyncio.CancelledError, type(None)]
        await store.record("last", used(), now=NOW)
        store.close()

    asyncio.run(scenario())


def test_nothing_half_written_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = UsageStore(tmp_path / "usage.db")
        bad = Usage(**{**{f: getattr(used(), f) for f in used().__slots__}, "unit": None})  # type: ignore[arg-type]
        with pytest.raises(sqlite3.IntegrityError):
            await store.record("x", bad, now=NOW)
        await store.record("x", used(), now=NOW)
        assert store.read("1", start="2026", end="2027")[0].quantity == 3
        store.close()

    asyncio.run(scenario())
