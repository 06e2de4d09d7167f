"""Captured invocations on their way to S3: lines in memory, written every few seconds by a thread of their own.

Off the hot path: a request costs its line and nothing else. Memory is bounded; what does not fit, or cannot be written (the
bucket is gone, the disk nearly full), is dropped and counted, and said in the log once for each time it begins.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.domain.capture import CaptureRule, Side, capture_line, capture_uri

logger = logging.getLogger(__name__)
FLUSH_SECONDS = 5.0
BUFFER_BYTES = 64 << 20
FILE_BYTES = 8 << 20
FREE_SHARE = 0.05
"""Capture stops on a disk with less free space than this."""

Place = tuple[CaptureRule, str, str]
"""Rule, endpoint, variant."""


class Capture:
    """``write`` stores bytes at an ``s3://`` address, blocking, and raises ``OSError``; ``disk`` is where it writes."""

    def __init__(
        self,
        *,
        write: Callable[[str, bytes], None],
        disk: Path,
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._write = write
        self._disk = disk
        self._clock = clock
        self._random = random
        self._lines: dict[Place, list[bytes]] = {}
        self._bytes = 0
        self._is_dropping = False
        self.dropped = 0

    def add(
        self, place: Place, *, event_id: str, inference_id: str, request: Side, answer: Side
    ) -> None:
        """Keep one invocation, if there is room."""
        line = capture_line(
            place[0],
            event_id=event_id,
            inference_id=inference_id,
            moment=self._clock.now(),
            request=request,
            answer=answer,
        )
        if self._bytes + len(line) > BUFFER_BYTES:
            self._drop(1, "more is captured than can be written")
            return
        self._bytes += len(line)
        self._lines.setdefault(place, []).append(line)

    async def run(self) -> None:
        """Until it is cancelled; then what is left is written."""
        try:
            while True:
                await self._clock.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write what there is."""
        taken, self._lines, self._bytes = self._lines, {}, 0
        if not taken:
            return
        usage = shutil.disk_usage(self._disk)
        if usage.free < usage.total * FREE_SHARE:
            self._drop(sum(map(len, taken.values())), "the disk is nearly full")
            return
        is_well = True
        for place, lines in taken.items():
            for data, count in _files(lines):
                rule, endpoint, variant = place
                uri = capture_uri(
                    rule,
                    endpoint=endpoint,
                    variant=variant,
                    moment=self._clock.now(),
                    name=self._random.hex(32),
                )
                try:
                    await asyncio.to_thread(self._write, uri, data)
                except OSError as error:
                    is_well = False
                    self._drop(count, f"{uri} cannot be written: {error}")
        if is_well:
            self._is_dropping = False

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        if not self._is_dropping:
            self._is_dropping = True
            logger.warning("captured invocations are dropped: %s", why)


def _files(lines: list[bytes]) -> list[tuple[bytes, int]]:
    """The lines in files of a bounded size, each with the number of its lines."""
    found: list[tuple[bytes, int]] = []
    some: list[bytes] = []
    size = 0
    for line in lines:
        if some and size + len(line) > FILE_BYTES:
            found.append((b"".join(some), len(some)))
            some, size = [], 0
        some.append(line)
        size += len(line)
    return [*found, (b"".join(some), len(some))]
