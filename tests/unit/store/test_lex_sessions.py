"""Conversations that are remembered: in a journal, then in a file, and none lost between the two."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.store import journal, lex_sessions
from modelyard.store.lex_sessions import LexSessions, SessionKey, TooManySessions, fold_into, held


def key(number: int, locale: str = "en_US") -> SessionKey:
    return SessionKey(
        account="1", region="r", bot="BOT", alias="ALIAS", locale=locale, id=f"s-{number}"
    )


@contextmanager
def opened(folder: Path, limit: int = 10) -> Iterator[LexSessions]:
    sessions = LexSessions(folder / "lex.db", limit=limit)
    try:
        yield sessions
    finally:
        sessions.close()


def journals(folder: Path) -> list[Path]:
    return journal.journals(folder / "lex-journals")


def rows(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "lex.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
    return int(count)


def killed(folder: Path) -> Path:
    """The files as they are now, and nobody's."""
    return Path(shutil.copytree(folder, folder.parent / "after-the-kill"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread folds what was put."""
    monkeypatch.setattr(lex_sessions.Folding, "soon", lambda self: None)


def test_a_session_is_found_until_its_time_is_over_and_survives_its_process(home: Path) -> None:
    with opened(home) as sessions:
        sessions.put(key(1), b"one", expires_at=100.0, now=0.0, begins=True)
        sessions.put(key(1), b"two\n", expires_at=110.0, now=10.0, begins=False)
        assert sessions.get(key(1, "fr_FR"), now=0.0) is None, "another locale, another session"
        with opened(killed(home)) as again:
            assert again.get(key(1), now=109.0) == b"two\n"
            assert again.get(key(1), now=110.0) is None
            assert again.get(key(1), now=500.0) is None
            again.delete(key(1))
            assert again.get(key(1), now=0.0) is None
    with opened(home) as sessions:
        assert sessions.get(key(1), now=109.0) == b"two\n"


def test_past_the_limit_only_known_sessions_go_on_until_others_are_over(home: Path) -> None:
    with opened(home, limit=2) as sessions:
        sessions.put(key(1), b"", expires_at=10.0, now=0.0, begins=True)
        sessions.put(key(2), b"", expires_at=50.0, now=0.0, begins=True)
        with pytest.raises(TooManySessions):
            sessions.put(key(3), b"", expires_at=50.0, now=5.0, begins=True)
        sessions.put(key(2), b"more", expires_at=50.0, now=5.0, begins=False)
        sessions.put(key(3), b"", expires_at=50.0, now=11.0, begins=True)
        sessions.delete(key(2))
        sessions.put(key(4), b"", expires_at=50.0, now=12.0, begins=True)
        sessions.clear()
        assert sessions.get(key(4), now=12.0) is None
        sessions.put(key(5), b"", expires_at=50.0, now=12.0, begins=True)
        sessions.put(key(6), b"", expires_at=50.0, now=12.0, begins=True)
        with pytest.raises(TooManySessions):
            sessions.put(key(7), b"", expires_at=50.0, now=12.0, begins=True)


def test_one_that_begins_takes_the_place_of_an_old_one_and_no_room_beside_it(home: Path) -> None:
    with opened(home, limit=2) as sessions:
        sessions.put(key(1), b"one", expires_at=10.0, now=0.0, begins=True)
        assert sessions.get(key(1), now=20.0) is None
        sessions.put(key(1), b"two", expires_at=50.0, now=20.0, begins=True)
        assert sessions.get(key(1), now=21.0) == b"two"
        sessions.put(key(2), b"", expires_at=50.0, now=22.0, begins=True)
        with pytest.raises(TooManySessions):
            sessions.put(key(3), b"", expires_at=50.0, now=23.0, begins=True)
        sessions.put(key(2), b"more", expires_at=50.0, now=24.0, begins=False)
        assert sessions.get(key(2), now=25.0) == b"more"


def test_turns_go_into_the_file_and_leave_an_empty_journal(home: Path) -> None:
    with opened(home) as sessions:
        for number in range(5):
            sessions.put(key(number), b"x" * 100, expires_at=100.0, now=0.0, begins=True)
        deadline = time.monotonic() + 60
        while rows(home) < 5 or any(path.stat().st_size for path in journals(home)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [sessions.get(key(number), now=1.0) for number in range(5)] == [b"x" * 100] * 5
        sessions.put(key(0), b"again", expires_at=100.0, now=1.0, begins=False)
        assert len(journals(home)) == 1


@pytest.mark.usefixtures("unfolded")
def test_a_kill_between_the_commit_and_the_journals_end_makes_no_turn_undone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROTATE_BYTES", 200)
    with opened(home) as sessions:
        for number in range(20):
            sessions.put(key(1), b"%d" % number, expires_at=100.0, now=0.0, begins=not number)
        sessions.put(key(2), b"", expires_at=100.0, now=0.0, begins=True)
        sessions.delete(key(2))
        before = killed(home)
        assert len(journals(before)) > 2
        with closing(sqlite3.connect(before / "lex.db")) as connection:
            assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
        fold_into(before / "lex.db", home / "lex.db")  # As a fold that came to its commit.
        for _ in range(2):
            with opened(before) as again:
                assert again.get(key(1), now=1.0) == b"19"
                assert again.get(key(2), now=1.0) is None
        assert rows(before) == 1


@pytest.mark.usefixtures("unfolded")
def test_what_cannot_be_folded_is_kept_and_past_a_number_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lex_sessions, "RECENT_MAX", 3)
    with opened(home) as sessions:
        with closing(sqlite3.connect(home / "lex.db")) as broken:
            broken.execute("ALTER TABLE sessions RENAME TO away")
            for number in range(3):
                sessions.put(key(number), b"", expires_at=100.0, now=0.0, begins=True)
            with pytest.raises(TooManySessions):
                sessions.put(key(3), b"", expires_at=100.0, now=0.0, begins=True)
            assert sessions.get(key(2), now=1.0) == b""
            broken.execute("ALTER TABLE away RENAME TO sessions")
        sessions.put(key(3), b"now", expires_at=100.0, now=0.0, begins=True)
        assert rows(home) == 3
    assert rows(home) == 4


@pytest.mark.usefixtures("unfolded")
def test_a_line_that_nobody_was_answered_for_and_one_that_is_none_stop_no_other(home: Path) -> None:
    with opened(home) as sessions:
        sessions.put(key(1), b"one", expires_at=100.0, now=0.0, begins=True)
        after = killed(home)
    (path,) = journals(after)
    path.write_bytes(b"\0\0\0\n" + path.read_bytes() + b'[["1","r"')
    with opened(after) as again:
        assert again.get(key(1), now=1.0) == b"one"


@pytest.mark.usefixtures("unfolded")
def test_a_copy_has_what_is_in_journals_alone_and_nothing_moves_meanwhile(home: Path) -> None:
    with opened(home) as sessions:
        sessions.put(key(1), b"one", expires_at=100.0, now=0.0, begins=True)
        with held(home / "lex.db"):
            folding = threading.Thread(target=sessions._fold)
            folding.start()
            sessions.put(key(2), b"two", expires_at=100.0, now=0.0, begins=True)
            (home / "copy").mkdir()
            shutil.copy(home / "lex.db", home / "copy")
            fold_into(home / "copy" / "lex.db", home / "lex.db")
            assert folding.is_alive() and not rows(home)
        folding.join()
        assert rows(home) >= 1
    with opened(home / "copy") as copied:
        assert [copied.get(key(number), now=1.0) for number in (1, 2)] == [b"one", b"two"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), st.integers(1, 30)),
        st.tuples(st.just("delete"), st.integers(0, 3), st.just(0)),
        st.tuples(st.sampled_from(["fold", "kill", "wait", "clear"]), st.just(0), st.integers(1, 10)),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60)
@given(steps=STEPS)
def test_whatever_happens_the_last_turn_is_found(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Against a dictionary; a kill leaves the files as they are, and another process opens them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lex_sessions.Folding, "soon", lambda self: None)
        patch.setattr(journal, "ROTATE_BYTES", 300)
        folder, now, lives = tmp_path_factory.mktemp("sessions"), 0.0, []
        sessions = LexSessions(folder / "lex.db", limit=3)
        lives.append(sessions)
        known: dict[int, tuple[bytes, float]] = {}
        for place, (what, number, much) in enumerate(steps):
            alive = {one: data for one, (data, until) in known.items() if until > now}
            assert {one: sessions.get(key(one), now=now) for one in alive} == alive
            if what == "put":
                data = b"%d" % place
                try:
                    begins = sessions.get(key(number), now=now) is None
                    sessions.put(key(number), data, expires_at=now + much, now=now, begins=begins)
                except TooManySessions:
                    assert len(alive) >= 3 and number not in alive
                else:
                    known[number] = (data, now + much)
            elif what == "delete":
                sessions.delete(key(number))
                known.pop(number, None)
            elif what == "fold":
                sessions._fold()
            elif what == "clear":
                sessions.clear()
                known.clear()
            elif what == "wait":
                now += much
            else:
                folder = Path(shutil.copytree(folder, tmp_path_factory.mktemp("after") / "home"))
                sessions = LexSessions(folder / "lex.db", limit=3)
                lives.append(sessions)
        for one in lives:
            one.close()
        alive = {one: data for one, (data, until) in known.items() if until > now}
        with opened(folder) as again:
            found = {one: again.get(key(one), now=now) for one in range(4)}
        assert {one: data for one, data in found.items() if data is not None} == alive
