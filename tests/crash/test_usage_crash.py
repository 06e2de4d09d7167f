"""Control is killed around the commit of what was used: what was answered is counted, and counted once."""

import sqlite3
from pathlib import Path

import pytest

from modelyard.testing.losses import PATIENT
from modelyard.testing.platform import running_platform

ASKED = 5
TEXT = "Where is the station, please?"


@pytest.mark.parametrize("boundary", ["usage.before-commit", "usage.after-commit"])
def test_each_answer_is_metered_once(
    boundary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    # However long a busy machine takes to start control again.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    # Every second commit of each control's life is its last.
    with running_platform(home, environment={"MODELYARD_FAILPOINTS": f"{boundary}=2"}) as platform:
        client = platform.client("comprehend", retries=PATIENT)
        for number in range(ASKED):
            found = client.detect_dominant_language(Text=f"{TEXT} {number}")
            assert found["Languages"][0]["LanguageCode"] == "en"
        died = (home / "logs" / "control.log").read_text().count("Started server process") - 1
    assert died >= 2
    connection = sqlite3.connect(home / "usage.db")
    (used,) = connection.execute("SELECT quantity, requests FROM used").fetchall()
    connection.close()
    assert used == (3.0 * ASKED, ASKED)
