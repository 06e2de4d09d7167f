import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelyard.store import lex_sessions
from modelyard.store.lex_sessions import LexSessions, SessionKey, TooManySessions


def key(number: int, locale: str = "en_US") -> SessionKey:
    return SessionKey(
        account="1", region="r", bot="BOT", alias="ALIAS", locale=locale, id=f"s-{number}"
    )


def test_a_session_is_found_until_its_time_is_over_and_survives_its_process(tmp_path: Path) -> None:
    sessions = LexSessions(tmp_path / "lex.db", limit=10)
    sessions.put(key(1), b"one", expires_at=100.0, now=0.0)
    sessions.put(key(1), b"two", expires_at=110.0, now=10.0)
    assert sessions.get(key(1, "fr_FR"), now=0.0) is None, "another locale, another session"
    again = LexSessions(tmp_path / "lex.db", limit=10)  # As after a kill: nothing was closed.
    assert again.get(key(1), now=109.0) == b"two"
    assert again.get(key(1), now=110.0) is None
    assert again.get(key(1), now=500.0) is None
    again.delete(key(1))
    assert again.get(key(1), now=0.0) is None
    for one in (sessions, again):
        one.close()


def test_one_that_begins_takes_the_place_of_an_old_one_and_no_room_beside_it(
    tmp_path: Path,
) -> None:
    sessions = LexSessions(tmp_path / "lex.db", limit=2)
    sessions.put(key(1), b"one", expires_at=10.0, now=0.0, begins=True)
    assert sessions.get(key(1), now=20.0) is None
    sessions.put(key(1), b"two", expires_at=50.0, now=20.0, begins=True)
    assert sessions.get(key(1), now=21.0) == b"two"
    sessions.put(key(2), b"", expires_at=50.0, now=22.0, begins=True)
    with pytest.raises(TooManySessions):
        sessions.put(key(3), b"", expires_at=50.0, now=23.0, begins=True)
    sessions.put(key(2), b"more", expires_at=50.0, now=24.0, begins=True)
    assert sessions.get(key(2), now=25.0) == b"more"
    sessions.close()


def test_past_the_limit_only_known_sessions_go_on_until_others_are_over(tmp_path: Path) -> None:
    sessions = LexSessions(tmp_path / "lex.db", limit=2)
    sessions.put(key(1), b"", expires_at=10.0, now=0.0)
    sessions.put(key(2), b"", expires_at=50.0, now=0.0)
    with pytest.raises(TooManySessions):
        sessions.put(key(3), b"", expires_at=50.0, now=5.0)
    sessions.put(key(2), b"more", expires_at=50.0, now=5.0)
    sessions.put(key(3), b"", expires_at=50.0, now=11.0)
    sessions.delete(key(2))
    sessions.put(key(4), b"", expires_at=50.0, now=12.0)
    sessions.clear()
    assert sessions.get(key(4), now=12.0) is None
    sessions.close()


def test_the_log_of_turns_is_moved_into_the_file_and_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lex_sessions, "_CHECKPOINT_EVERY", 50)
    sessions = LexSessions(tmp_path / "lex.db", limit=10)
    sizes = []
    for number in range(10 * 50):
        sessions.put(key(1), b"%d" % number, expires_at=100.0, now=0.0)
        for thread in threading.enumerate():
            if thread.name == "lex-sessions":
                thread.join()
        sizes.append((tmp_path / "lex.db-wal").stat().st_size)
    assert sizes[-1] == sizes[60], "it does not grow with the turns"
    sessions.close()


def test_the_log_is_begun_anew_though_turns_come_while_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lex.db"
    monkeypatch.setattr(lex_sessions, "_CHECKPOINT_EVERY", 20)
    monkeypatch.setattr(lex_sessions, "_LOG_PAGES_MAX", 100)
    sessions = LexSessions(path, limit=10)

    class Disturbed(sqlite3.Connection):
        """A turn comes while the log is moved: what it wrote is beyond what is moved."""

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if "checkpoint" not in sql or sessions._lock.locked():
                return super().execute(sql, *values)
            with closing(sqlite3.connect(path, isolation_level=None)) as before:
                before.execute("BEGIN")
                before.execute("SELECT count(*) FROM sessions").fetchone()
                sessions.put(key(2), b"meanwhile", expires_at=100.0, now=0.0)
                return super().execute(sql, *values)

    monkeypatch.setattr(
        lex_sessions, "connect", lambda path: sqlite3.connect(path, factory=Disturbed)
    )
    for number in range(400):
        sessions.put(key(1), b"%d" % number, expires_at=100.0, now=0.0)
        if (thread := sessions._checkpointer) is not None:
            thread.join()
    assert (tmp_path / "lex.db-wal").stat().st_size < 200 * 4_096
    sessions.close()
