"""Functions that answer, raise, die, hang, print, and say too much: as processes, and over HTTP."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from modelyard.server import function_pool
from modelyard.server.function_pool import RunningFunction
from modelyard.server.functions import BadTarget, LocalFunctions, parse_target
from modelyard.services.lex.hooks import FunctionFailed, FunctionUnknown, FunctionUnreachable

ARN = "arn:aws:lambda:us-east-1:123456789012:function:orders"
HANDLERS = """
import os, subprocess, sys, time
calls = 0

def main(event, context):
    global calls
    calls += 1
    print("what is printed is no answer")
    kind = event.get("kind")
    if kind == "raise":
        raise ValueError("no pizza")
    if kind == "die":
        os._exit(3)
    if kind == "hang":
        with open(event["mark"], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    if kind == "big":
        return "x" * 300_000
    if kind == "daemon":
        child = os.fork()
        if child == 0:
            os.setsid()
            time.sleep(600)
        with open(event["mark"], "w") as file:
            file.write(str(child))
        while not os.getsid(child) == child:
            pass
        os._exit(3)
    if kind == "odd":
        return object()
    if kind == "greedy":
        return len(bytearray(8 << 30))
    return {"calls": calls, "pid": os.getpid(), "arn": context.invoked_function_arn,
            "left": context.get_remaining_time_in_millis() > 0}
"""


def run(
    folder: Path, *events: dict[str, Any], seconds: float = 20.0, target: str = "hooks:main"
) -> list[Any]:
    """What comes of each event, in turn."""

    async def play() -> list[Any]:
        functions = LocalFunctions([f"{ARN}={target}"], folder=folder)
        try:
            outcomes: list[Any] = []
            for event in events:
                try:
                    limit = event.get("seconds", seconds)
                    answer = await functions.invoke(ARN, json.dumps(event).encode(), seconds=limit)
                    outcomes.append(json.loads(answer))
                except (FunctionFailed, FunctionUnreachable, TimeoutError) as error:
                    outcomes.append(error)
            return outcomes
        finally:
            await functions.close()

    return asyncio.run(play())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks.py").write_text(HANDLERS)
    return tmp_path


def test_a_function_runs_in_a_warm_process_that_is_not_this_one(folder: Path) -> None:
    first, raised, second = run(folder, {}, {"kind": "raise"}, {})
    assert first == {"calls": 1, "pid": first["pid"], "arn": ARN, "left": True}
    assert first["pid"] not in (os.getpid(), 0)
    assert str(raised) == "ValueError: no pizza"
    assert (second["calls"], second["pid"]) == (3, first["pid"])


def test_whatever_a_function_does_the_next_event_is_answered(folder: Path) -> None:
    died, big, odd, greedy, fine = run(
        folder, {"kind": "die"}, {"kind": "big"}, {"kind": "odd"}, {"kind": "greedy"}, {}
    )
    assert "its process ended with status 3" in str(died)
    assert "of at most" in str(big)
    assert "not JSON serializable" in str(odd)
    assert "MemoryError" in str(greedy)
    assert fine["left"]


def test_a_warm_process_that_was_killed_meanwhile_costs_no_event(folder: Path) -> None:
    async def play() -> tuple[Any, Any]:
        functions = LocalFunctions([f"{ARN}=hooks:main"], folder=folder)
        try:
            first = json.loads(await functions.invoke(ARN, b"{}", seconds=20))
            (warm,) = functions._pools[ARN]._idle
            os.kill(first["pid"], signal.SIGKILL)
            await warm._process.wait()
            return first, json.loads(await functions.invoke(ARN, b"{}", seconds=20))
        finally:
            await functions.close()

    first, second = asyncio.run(play())
    assert second["pid"] != first["pid"]
    assert second["calls"] == 1


def test_a_process_is_ended_however_much_it_said_that_nobody_read() -> None:
    says = "import sys; sys.stdout.buffer.write(b'\\0' + b'\\xff' * (1 << 20))"

    async def play() -> int | None:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-c", says, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        process = RunningFunction(started, 0.0)
        with pytest.raises(FunctionFailed, match="of at most"):
            await process.ask(b"{}")
        assert started.stdout is not None
        while len(started.stdout._buffer) <= 2 * 64 * 1024:  # type: ignore[attr-defined]
            await asyncio.sleep(0)  # Past it the reader is paused, and would see no end.
        await process.kill()
        return started.returncode

    async def bounded() -> int | None:
        async with asyncio.timeout(60):
            return await play()

    assert asyncio.run(bounded()) is not None


def test_a_function_that_hangs_is_killed_when_its_time_is_over(folder: Path) -> None:
    mark = folder / "mark"
    # The first event waits for a process to start; the time of the second is the function's alone.
    _, hung, fine = run(folder, {}, {"kind": "hang", "mark": str(mark), "seconds": 2.0}, {})
    assert isinstance(hung, TimeoutError)
    assert fine["calls"] == 1, "another process"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_who_leaves_a_process_behind_holds_up_nobody_and_no_pipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_pool, "END_SECONDS", 0.1)
    mark = folder / "mark"

    async def play() -> Any:
        held = len(os.listdir("/dev/fd"))
        functions = LocalFunctions([f"{ARN}=hooks:main"], folder=folder)
        event = json.dumps({"kind": "daemon", "mark": str(mark)}).encode()
        async with asyncio.timeout(60):
            try:
                left = asyncio.create_task(functions.invoke(ARN, event, seconds=60.0))
                while not mark.exists() or not mark.read_text():
                    await asyncio.sleep(0.01)
                left.cancel()
                await asyncio.wait([left])
                answer = json.loads(await functions.invoke(ARN, b"{}", seconds=20.0))
            finally:
                await functions.close()
            while len(os.listdir("/dev/fd")) > held:
                await asyncio.sleep(0.01)
        return answer

    try:
        assert asyncio.run(play())["calls"] == 1, "another process"
    finally:
        os.kill(int(mark.read_text()), signal.SIGKILL)


def test_a_changed_file_is_read_anew(folder: Path) -> None:
    async def play() -> list[bytes]:
        functions = LocalFunctions([f"{ARN}=hooks:main"], folder=folder)
        before = await functions.invoke(f"{ARN}:live", b"{}", seconds=20.0)
        (folder / "hooks.py").write_text("def main(event, context): return 'new'")
        os.utime(folder / "hooks.py", (1, 1))
        after = await functions.invoke(ARN, b"{}", seconds=20.0)
        await functions.close()
        return [before, after]

    before, after = asyncio.run(play())
    assert (b"calls" in before, after) == (True, b'"new"')


def test_a_module_that_is_not_there_says_so(folder: Path) -> None:
    (missing,) = run(folder, {}, target="nothing:main")
    assert "No module named 'nothing'" in str(missing)


def test_an_unknown_function_is_unknown(tmp_path: Path) -> None:
    functions = LocalFunctions([], folder=tmp_path)
    with pytest.raises(FunctionUnknown):
        asyncio.run(functions.invoke(ARN, b"{}", seconds=1.0))


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"{}"),
        (OK + b"\r\n{}", b"{}"),
        (OK + b"X-Amz-Function-Error: Unhandled\r\nContent-Length: 4\r\n\r\nboom", FunctionFailed),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", FunctionFailed),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", FunctionUnreachable),
        (b"SSH-2.0-OpenSSH\r\n", FunctionFailed),
        (b"", FunctionUnreachable),
        (OK + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000, FunctionFailed),
        (OK + b"X: " + b"y" * 400_000, FunctionFailed),
        (None, TimeoutError),
    ],
)  # fmt: skip
def test_an_address_gets_the_event_and_its_answer_is_read_with_care(
    tmp_path: Path, said: bytes | None, expected: bytes | type[Exception]
) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2))
        if said is None:
            await reader.read()  # Until the caller has had enough.
        else:
            writer.write(said)
        writer.close()

    async def play() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            functions = LocalFunctions([f"{ARN}=http://127.0.0.1:{port}/run?a=1"], folder=tmp_path)
            return await functions.invoke(ARN, b"{}", seconds=0.5 if said is None else 20.0)

    if isinstance(expected, bytes):
        assert asyncio.run(play()) == expected
        assert heard[0].startswith(b"POST /run?a=1 HTTP/1.1\r\n")
        assert heard[0].endswith(b"{}")
    else:
        with pytest.raises(expected):
            asyncio.run(play())


def test_an_address_that_takes_no_event_has_no_more_time_than_one_that_does(tmp_path: Path) -> None:
    async def play() -> bool:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            functions = LocalFunctions([f"{ARN}={url}"], folder=tmp_path)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10) as patience:
                    await functions.invoke(ARN, b" " * (32 << 20), seconds=0.1)
        return patience.expired()

    assert not asyncio.run(play())


def test_nobody_at_the_address_is_unreachable(tmp_path: Path) -> None:
    functions = LocalFunctions([f"{ARN}=http://127.0.0.1:1/"], folder=tmp_path)
    with pytest.raises(FunctionUnreachable):
        asyncio.run(functions.invoke(ARN, b"{}", seconds=20.0))


@pytest.mark.parametrize(
    "text",
    ["", "orders=hooks:main", ARN, f"{ARN}=", f"{ARN}=hooks", f"{ARN}=ftp://x/", f"{ARN}=http://", f"{ARN}=a b:c"],
)  # fmt: skip
def test_a_line_that_names_no_function_is_refused(text: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(text)
