"""``python -m modelyard.server.function_process MODULE:FUNCTION FOLDER``: one Python function, as Lambda calls it.

Events come on the standard input and answers go to the standard output, each with its length before it. What the function prints
goes to the platform's log. It ends when its input does, and by an alarm when a call takes longer than it may.
"""

import importlib
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

MEMORY_BYTES = 4 << 30
"""Address space."""
_GRACE_SECONDS = 2.0
"""The platform kills what is late itself; the alarm is for when the platform is gone."""
Handler = Callable[[Any, "Context"], Any]


class Context:
    """What Lambda gives a function beside the event."""

    def __init__(self, arn: str, seconds: float, number: int) -> None:
        self.invoked_function_arn = arn
        self.function_name = arn.split(":")[6]
        self.function_version = "$LATEST"
        self.aws_request_id = f"{os.getpid()}-{number}"
        self.memory_limit_in_mb = str(MEMORY_BYTES >> 20)
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._deadline - time.monotonic())))


def main() -> None:
    name, folder = sys.argv[1:3]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What is printed is no answer.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, folder)
    handler: Handler | None = None
    number = 0
    while True:
        question = _read(sys.stdin.buffer)
        if question is None:
            return
        number += 1
        signal.setitimer(signal.ITIMER_REAL, question["seconds"] + _GRACE_SECONDS)
        try:
            handler = handler or _load(name)
            context = Context(question["arn"], question["seconds"], number)
            failed, body = 0, json.dumps(handler(question["event"], context)).encode()
        except Exception as error:  # noqa: BLE001 - whatever a function of somebody else raises is its answer
            traceback.print_exc()
            failed, body = 1, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:4096]
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(struct.pack(">BI", failed, len(body)) + body)
        answers.flush()


def _load(name: str) -> Handler:
    module, _, function = name.partition(":")
    handler: Handler = getattr(importlib.import_module(module), function)
    return handler


def _read(stream: BinaryIO) -> Any:
    head = stream.read(4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    body = stream.read(size)
    return json.loads(body) if len(body) == size else None


if __name__ == "__main__":
    main()
