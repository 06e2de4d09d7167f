"""Processes that run one Python function: started when they are needed, kept warm, killed when they take too long.

A process takes one event at a time (``function_process``). One that dies, hangs or says what cannot be read is gone; the next
event gets another. When the function's file changes, the processes that have read the old one go.
"""

import asyncio
import logging
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from modelyard.domain.lex.code_hooks import ANSWER_BYTES
from modelyard.services.lex.hooks import FunctionFailed

logger = logging.getLogger(__name__)
RUNNING_MAX, IDLE_MAX = 8, 2
WAITING_MAX = 200
"""Events that wait for a process; past it they fail."""
_HEAD = struct.Struct(">BI")
_CHUNK = 64 * 1024
END_SECONDS = 5.0
"""A killed process is waited for so long: what it put into a session of its own may keep its pipe."""


class RunningFunction:
    """One process, which is asked one event after another."""

    def __init__(self, process: asyncio.subprocess.Process, changed_at: float) -> None:
        self._process = process
        self.changed_at = changed_at
        self.is_fit = True

    @property
    def is_alive(self) -> bool:
        """As far as is known."""
        return self._process.returncode is None

    async def ask(self, question: bytes) -> bytes:
        """Raises ``FunctionFailed``; however it ends but well, the process is of no more use."""
        self.is_fit = False
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None
        assert writer is not None
        try:
            writer.write(struct.pack(">I", len(question)) + question)
            await writer.drain()
            failed, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
            if size > ANSWER_BYTES:
                raise FunctionFailed(f"its answer has {size} bytes, of at most {ANSWER_BYTES}")
            body = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            raise FunctionFailed(f"its process ended {await self._end()}") from None
        self.is_fit = True
        if failed:
            raise FunctionFailed(body.decode("utf-8", "replace"))
        return body

    async def _end(self) -> str:
        code = await self._process.wait()
        return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"

    async def kill(self) -> None:
        """With all that it started."""
        self.is_fit = False
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # What nobody read holds the pipe open, and the end of a process is only told once its pipes have ended.
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(END_SECONDS):
                while await self._process.stdout.read(_CHUNK):
                    pass
                await self._process.wait()
        except TimeoutError:
            logger.warning("what process %d has started lives on", self._process.pid)
            # Its pipes would stay open for as long, and nothing else closes them.
            self._process._transport.close()  # type: ignore[attr-defined]


class FunctionPool:
    """``function`` is ``module:function``, looked for in ``folder`` first."""

    def __init__(self, function: str, *, arn: str, folder: Path) -> None:
        self._function = function
        self._arn = arn
        self._folder = folder
        self._file = folder / f"{function.partition(':')[0].replace('.', '/')}.py"
        self._slots = asyncio.Semaphore(RUNNING_MAX)
        self._idle: list[RunningFunction] = []
        self._waiting = 0

    async def invoke(self, event: bytes, *, seconds: float) -> bytes:
        """Raises ``FunctionFailed``. The caller bounds the time: cancelled, the process is killed."""
        if self._waiting >= WAITING_MAX:
            raise FunctionFailed(f"{WAITING_MAX} events wait for it already")
        self._waiting += 1
        try:
            async with self._slots:
                return await self._ask(event, seconds)
        finally:
            self._waiting -= 1

    async def _ask(self, event: bytes, seconds: float) -> bytes:
        process = await self._take()
        try:
            question = {"event": msgspec.Raw(event), "arn": self._arn, "seconds": seconds}
            return await process.ask(msgspec.json.encode(question))
        finally:
            if process.is_fit and len(self._idle) < IDLE_MAX:
                self._idle.append(process)
            else:
                await asyncio.shield(process.kill())

    async def _take(self) -> RunningFunction:
        changed_at = self._changed_at()
        while self._idle:
            process = self._idle.pop()
            if process.changed_at == changed_at and process.is_alive:
                return process
            await process.kill()
        command = [sys.executable, "-P", "-m", "modelyard.server.function_process", self._function]
        started = await asyncio.create_subprocess_exec(
            *command,
            str(self._folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=self._folder,
            start_new_session=True,
        )
        return RunningFunction(started, changed_at)

    def _changed_at(self) -> float:
        try:
            return self._file.stat().st_mtime
        except OSError:
            return 0.0  # It is found elsewhere, or not at all: the process says so.

    async def close(self) -> None:
        """End what is idle; what runs ends with its caller."""
        while self._idle:
            await self._idle.pop().kill()
