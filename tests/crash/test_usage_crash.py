"""Control is killed where it writes down what was used, and where it adds it up: what was answered is counted once."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.store.usage import fold_journals
from modelyard.testing.losses import PATIENT, wait_for
from modelyard.testing.platform import running_platform

ASKED = 5
TEXT = "Where is the station, please?"
EVERY_SECOND_USE, FIRST_SUM = 2, 1


@pytest.mark.parametrize(
    ("boundary", "hit"),
    [
        ("usage.before-append", EVERY_SECOND_USE),
        ("usage.after-append", EVERY_SECOND_USE),
        ("usage.before-commit", FIRST_SUM),
        ("usage.after-commit", FIRST_SUM),
    ],
)
def test_each_answer_is_metered_once(
    boundary: str, hit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    # However long a busy machine takes to start control again.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")

    def died() -> int:
        return (home / "logs" / "control.log").read_text().count("Started server process") - 1

    failpoints = {"MODELYARD_FAILPOINTS": f"{boundary}={hit}"}
    with running_platform(home, environment=failpoints) as platform:
        client = platform.client("comprehend", retries=PATIENT)
        for number in range(ASKED):
            before = died()
            found = client.detect_dominant_language(Text=f"{TEXT} {number}")
            assert found["Languages"][0]["LanguageCode"] == "en"
            if hit == FIRST_SUM:
                wait_for(lambda before=before: died() > before, "another control")  # type: ignore[misc]
        assert died() >= 2
    fold_journals(home / "usage.db")
    with closing(sqlite3.connect(home / "usage.db")) as connection:
        (used,) = connection.execute("SELECT quantity, requests FROM used").fetchall()
    assert used == (3.0 * ASKED, ASKED)
