"""Mixed requests while workers and control are killed: each is answered once or refused, and metered once."""

from pathlib import Path

import pytest

from modelyard.testing import counting_bot
from modelyard.testing.losses import wait_for
from modelyard.testing.mixed_requests import (
    ANSWERED,
    BROKEN,
    REFUSED,
    Storm,
    conversation_kind,
    kill_one,
    misbooked,
    small_sentiment,
    text_kinds,
)
from modelyard.testing.platform import running_platform

REQUESTS, CALLERS = 240, 6
KILLS = ("0", "1", "control", "2", "0")
"""Workers by their place in the list, and control; one after each sixth of the requests."""


@pytest.mark.timeout(600)
def test_each_request_is_answered_once_or_refused_and_metered_once(tmp_path: Path) -> None:
    with running_platform(tmp_path / "home") as platform:
        small_sentiment(platform, tmp_path / "sentiment")
        bot = counting_bot.build(platform.client("lexv2-models"))
        kinds = [*text_kinds(), conversation_kind(bot)]
        killed = []
        with Storm(platform, kinds, count=REQUESTS, callers=CALLERS, seconds=400.0) as storm:
            for number, victim in enumerate(KILLS, 1):
                wanted = number * REQUESTS // (len(KILLS) + 1)
                wait_for(lambda wanted=wanted: len(storm.asked) >= wanted, f"{wanted} answers")  # type: ignore[misc]
                killed.append(kill_one(platform, victim))
        asked = storm.asked
        assert len(asked) == REQUESTS and all(killed), killed
        strange = [one for one in asked if one.outcome not in (ANSWERED, REFUSED, BROKEN)]
        assert not strange, strange
        answered = sum(one.outcome == ANSWERED for one in asked)
        assert answered > REQUESTS * 0.9, [one for one in asked if one.outcome != ANSWERED]
        assert misbooked(platform.home, asked) == []
