"""Control is killed when a turn is on the disk and its answer has not left: the client's repeat is no second turn."""

import sqlite3
from pathlib import Path

from modelyard.testing.counting_bot import build, numbers
from modelyard.testing.losses import PATIENT
from modelyard.testing.platform import running_platform


def test_each_turn_happens_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    # Every second turn of each control's life is its last.
    with running_platform(
        home, environment={"MODELYARD_FAILPOINTS": "lex.after-put=2"}
    ) as platform:
        session = {
            "botId": build(platform.client("lexv2-models")),
            "botAliasId": "TSTALIASID",
            "localeId": "en_US",
            "sessionId": "s-1",
        }
        runtime = platform.client("lexv2-runtime", retries=PATIENT)
        for text in ("start counting", "1", "2", "3", "4"):
            answer = runtime.recognize_text(**session, text=text)
        died = (home / "logs" / "control.log").read_text().count("Started server process") - 1
    assert numbers(answer) == ["1", "2", "3", "4"]
    assert answer["sessionState"]["intent"]["state"] == "ReadyForFulfillment"
    assert died >= 2
    connection = sqlite3.connect(home / "usage.db")
    (used,) = connection.execute("SELECT quantity, requests FROM used").fetchall()
    connection.close()
    assert used == (5.0, 5)
