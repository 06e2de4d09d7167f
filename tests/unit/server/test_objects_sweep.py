"""What killed writers leave in a running platform."""

import asyncio
from pathlib import Path

from modelyard.server.objects import SWEEP_SECONDS, keep_swept
from modelyard.store.objects import ObjectStore
from modelyard.testing.clock import ManualClock


def test_what_a_killed_job_had_written_is_removed_while_the_platform_runs(tmp_path: Path) -> None:
    asyncio.run(_sweep(tmp_path))


async def _sweep(folder: Path) -> None:
    clock = ManualClock()
    store = ObjectStore(folder, clock=clock)
    store.create_bucket("b", account="1", region="r")
    left = folder / "tmp" / "left"
    left.write_bytes(b"half of it")
    living = store.writer("b", "k")
    living.write(b"of somebody who lives")
    sweeping = asyncio.ensure_future(keep_swept(store, clock))
    async with asyncio.timeout(10):
        for _ in range(2):
            while not clock.sleepers:
                await asyncio.sleep(0.001)
            clock.advance(SWEEP_SECONDS)
            await asyncio.sleep(0)
        while left.exists():
            await asyncio.sleep(0.001)
    assert living.commit().size == 21
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    store.close()
