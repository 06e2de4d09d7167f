"""Following lines that match a pattern: each is shown once, though streams are behind each other."""

from typing import Any

from modelyard.cli.logs import _Searcher


class FakeLogs:
    """``filter_log_events`` over ``lines`` of (stream, ms, message), two to a page."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, str]] = []
        self.exists = True

    def filter_log_events(self, **members: Any) -> dict[str, Any]:
        if not self.exists:
            raise self.exceptions.ResourceNotFoundException
        found = [
            {
                "eventId": str(number),
                "logStreamName": stream,
                "timestamp": ms,
                "message": message,
            }
            for number, (stream, ms, message) in enumerate(self.lines)
            if members["filterPattern"] in message and ms >= members.get("startTime", 0)
        ]
        found.sort(key=lambda one: int(str(one["timestamp"])))
        if members.get("startFromHead") is False:
            found.reverse()
        begin = int(members.get("nextToken", 0))
        more = {"nextToken": str(begin + 2)} if begin + 2 < len(found) else {}
        return {"events": found[begin : begin + 2], **more}


def messages(events: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in events]


def test_the_last_matches_come_first_and_then_each_new_one_once() -> None:
    client = FakeLogs()
    client.lines = [("a", 1_000 * n, f"x{n}") for n in range(5)] + [("b", 3_500, "y")]
    searcher = _Searcher(client, "group", "", pattern="x", limit=3)
    assert messages(searcher.newest()) == ["x2", "x3", "x4"]
    assert messages(searcher.more()) == []
    client.lines += [("b", 3_900, "x late"), ("a", 6_000, "x5"), ("a", 6_001, "y")]
    assert messages(searcher.more()) == ["x late", "x5"]
    client.lines += [("a", 6_000, "x6")]
    assert messages(searcher.more()) == ["x6"]
    assert messages(searcher.more()) == []
