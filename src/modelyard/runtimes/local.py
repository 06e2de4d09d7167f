"""The runtime of one machine: control's end of the host's socket."""

import asyncio
import contextlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from modelyard.runtimes.listings import Known
from modelyard.runtimes.records import PROCESSES, Records
from modelyard.runtimes.runtime import Process, ProcessSpec, Refused, RuntimeUnavailable

LINE_LIMIT = 64 << 20
ANSWER_SECONDS = 10.0


class LocalRuntime:
    """``Runtime`` over ``run/host.sock``; reconnects by itself. Belongs to one event loop."""

    def __init__(self, socket_path: Path) -> None:
        self._path = str(socket_path)
        self._records = Records(socket_path.parent / PROCESSES)
        self._known = Known()
        self._lock = asyncio.Lock()
        self._calls: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._watch: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self, spec: ProcessSpec) -> None:
        if spec.payload:
            try:
                self._records.save_payload(spec.id, spec.payload)
            except OSError as error:  # A full disk, or no home yet.
                raise Refused(f"the payload cannot be handed over: {error}") from error
        await self._ask({"op": "start", "spec": asdict(replace(spec, payload={}))})

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        await self._ask({"op": "stop", "id": process_id, "grace": grace_seconds})

    async def forget(self, process_id: str) -> None:
        await self._ask({"op": "forget", "id": process_id})

    async def list(self) -> list[Process]:
        return self._known.take(await self._ask(self._known.question))

    async def changed(self) -> None:
        """Returns also when the connection had to be made anew: what happened meanwhile is unknown."""
        if self._watch is not None:
            try:
                # Whatever has come stands for one hint: a burst of changes is one listing, not one for each.
                if await self._watch[0].read(LINE_LIMIT):
                    return
            except OSError:
                pass  # As at its end: the host of this connection is gone, and another may be there already.
            self._watch[1].close()
            self._watch = None
        reader, writer = await self._connect()
        try:
            writer.write(b'{"op": "watch"}\n')
            await self._read_line(reader)
        except BaseException:
            writer.close()
            raise
        self._watch = reader, writer

    async def close(self) -> None:
        """Close both connections; idempotent."""
        for ends in (self._calls, self._watch):
            if ends is not None:
                ends[1].close()
                with contextlib.suppress(OSError):
                    await ends[1].wait_closed()
        self._calls = self._watch = None

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer; a broken connection is tried anew once, since every operation is idempotent."""
        async with self._lock:
            for attempt in range(2):
                fresh = self._calls is None
                if self._calls is None:
                    self._calls = await self._connect()
                reader, writer = self._calls
                answered = False
                try:
                    writer.write(msgspec.json.encode(request) + b"\n")
                    async with asyncio.timeout(ANSWER_SECONDS):
                        answer = msgspec.json.decode(await self._read_line(reader))
                    answered = True
                    break
                except TimeoutError:
                    raise RuntimeUnavailable("the host does not answer") from None
                except RuntimeUnavailable:
                    if fresh or attempt:
                        raise
                finally:
                    if (
                        not answered
                    ):  # Cancelled or failed: an answer may still come, and would be another's.
                        writer.close()
                        self._calls = None
        if "error" in answer:
            raise Refused(answer["error"])
        result: dict[str, Any] = answer
        return result

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self._path, limit=LINE_LIMIT)
        except OSError as error:
            raise RuntimeUnavailable(f"the host is not running: {error}") from error

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            line = await reader.readline()
        except OSError as error:
            raise RuntimeUnavailable(f"the host went away: {error}") from error
        if not line.endswith(b"\n"):
            raise RuntimeUnavailable("the host went away")
        return line
