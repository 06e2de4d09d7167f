"""Captured invocations on their way to S3: kept in memory as they came, encoded and written every few seconds by a thread.

Off the hot path: a request costs a place in a list and nothing else. Memory is bounded; what does not fit, or cannot be
written (the bucket is gone, the disk nearly full), is dropped and counted, and said in the log once for each time it begins.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.domain.capture import CaptureRule, Seen, Side, capture_line, capture_uri

logger = logging.getLogger(__name__)
FLUSH_SECONDS = 5.0
BUFFER_BYTES = 64 << 20
FILE_BYTES = 8 << 20
"""Bodies in one file, before they are encoded."""
LINE_BYTES = 512
"""What an invocation counts beside its bodies."""
FREE_SHARE = 0.05
"""Capture stops on a disk with less free space than this."""

_NOTHING = Side("", b"")

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
        self._kept: dict[Place, list[Seen]] = {}
        self._bytes = 0
        self._is_dropping = False
        self.dropped = 0

    def add(
        self, place: Place, *, event_id: str, inference_id: str, request: Side, answer: Side
    ) -> None:
        """Keep one invocation, if there is room."""
        rule = place[0]
        seen = Seen(
            event_id=event_id,
            inference_id=inference_id,
            moment=self._clock.now(),
            request=request if rule.inputs else _NOTHING,
            answer=answer if rule.outputs else _NOTHING,
        )
        size = _size(seen)
        if self._bytes + size > BUFFER_BYTES:
            self._drop(1, "more is captured than can be written")
            return
        self._bytes += size
        self._kept.setdefault(place, []).append(seen)

    async def run(self) -> None:
        """Until it is cancelled; then what is left is written."""
        flushing: asyncio.Task[None] | None = None
        try:
            while True:
                await self._clock.sleep(FLUSH_SECONDS)
                flushing = asyncio.create_task(self.flush(), name="capture.flush")
                await asyncio.shield(flushing)
        finally:
            if flushing is not None:
                await asyncio.shield(flushing)  # It has taken what it has not written yet.
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write what there is."""
        taken, self._kept = self._kept, {}
        if not taken:
            return
        usage = shutil.disk_usage(self._disk)
        has_room = usage.free >= usage.total * FREE_SHARE
        if not has_room:
            self._drop(sum(map(len, taken.values())), "the disk is nearly full")
        is_well = has_room
        for place, kept in taken.items():
            for some in _parts(kept):
                if has_room:
                    is_well &= await self._store(place, some)
                self._bytes -= sum(map(_size, some))
        if is_well:
            self._is_dropping = False

    async def _store(self, place: Place, some: list[Seen]) -> bool:
        rule, endpoint, variant = place
        uri = capture_uri(
            rule,
            endpoint=endpoint,
            variant=variant,
            moment=self._clock.now(),
            name=self._random.hex(32),
        )
        try:
            await asyncio.to_thread(self._encode_and_write, uri, rule, some)
        except OSError as error:
            self._drop(len(some), f"{uri} cannot be written: {error}")
            return False
        return True

    def _encode_and_write(self, uri: str, rule: CaptureRule, some: list[Seen]) -> None:
        self._write(uri, b"".join(capture_line(rule, seen) for seen in some))

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        if not self._is_dropping:
            self._is_dropping = True
            logger.warning("captured invocations are dropped: %s", why)


def _size(seen: Seen) -> int:
    return LINE_BYTES + len(seen.request.body) + len(seen.answer.body)


def _parts(kept: list[Seen]) -> Iterator[list[Seen]]:
    """What one file holds, file by file."""
    some: list[Seen] = []
    size = 0
    for seen in kept:
        if some and size + _size(seen) > FILE_BYTES:
            yield some
            some, size = [], 0
        some.append(seen)
        size += _size(seen)
    yield some
