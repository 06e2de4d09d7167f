"""The runtime of several zones: a host for each, and what their workers are known by while a host is away.

A host that is away takes no new processes, and its own go on: they are known by the state files that they and their host
wrote, and by the kernel, which says whether they live. What was to be told to it is told when it is back.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelyard.base.clock import Clock
from modelyard.runtimes.local import LocalRuntime
from modelyard.runtimes.records import Records, start_time
from modelyard.runtimes.runtime import (
    Process,
    ProcessSpec,
    ProcessState,
    Refused,
    RuntimeUnavailable,
)

logger = logging.getLogger(__name__)
PATIENCE_SECONDS = 3.0
"""A host that has not answered for so long is away; asking it is harmless, and so is to believe that it is away."""
PROBE_SECONDS = 0.25
"""A host that is away is looked for so often."""
_ENDED = (ProcessState.SUCCEEDED, ProcessState.FAILED, ProcessState.DEAD)
_ORPHANED = "it ended while the host of its zone was away"


class ZonedRuntime:
    """``Runtime`` over one host a zone. Belongs to one event loop."""

    def __init__(self, folders: Mapping[str, Path], *, clock: Clock) -> None:
        """``folders`` are the hosts', by zone."""
        self._hosts = {zone: LocalRuntime(path / "host.sock") for zone, path in folders.items()}
        self._records = {zone: Records(path / "processes") for zone, path in folders.items()}
        self._clock = clock
        self._up: set[str] = set(folders)
        self._zone_of: dict[str, str] = {}
        self._started: dict[str, str] = {}
        """Since the last listing was asked for, which may not tell of them."""
        self._stops: dict[str, dict[str, float]] = {zone: {} for zone in folders}
        self._forgotten: dict[str, set[str]] = {zone: set() for zone in folders}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[], None]] = []

    def zones_up(self) -> tuple[str, ...]:
        """Those whose host answered last."""
        return tuple(sorted(self._up))

    def zones(self) -> tuple[str, ...]:
        """All."""
        return tuple(sorted(self._hosts))

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when a zone's host goes away or comes back."""
        self._listeners.append(listener)

    async def start(self, spec: ProcessSpec) -> None:
        zone = self._zone_of.get(spec.id) or spec.zone or self._emptiest()
        if zone not in self._hosts:
            raise RuntimeUnavailable(f"there is no zone {zone}")
        if zone not in self._up:
            raise RuntimeUnavailable(f"the host of zone {zone} is away")
        try:
            await self._hosts[zone].start(spec)
        except Refused:
            raise
        except RuntimeUnavailable as error:
            self._lost(zone, error)
            raise
        self._zone_of[spec.id] = self._started[spec.id] = zone

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        zone = self._zone_of.get(process_id)
        if zone is None:
            return
        try:
            if zone not in self._up:
                raise RuntimeUnavailable(zone)
            await self._hosts[zone].stop(process_id, grace_seconds=grace_seconds)
        except RuntimeUnavailable:
            self._stops[zone][process_id] = grace_seconds

    async def forget(self, process_id: str) -> None:
        zone = self._zone_of.pop(process_id, None)
        self._started.pop(process_id, None)
        if zone is None:
            return
        try:
            if zone not in self._up:
                raise RuntimeUnavailable(zone)
            await self._hosts[zone].forget(process_id)
        except RuntimeUnavailable:
            self._forgotten[zone].add(process_id)

    async def list(self) -> list[Process]:
        """Raises ``RuntimeUnavailable`` only if no host answers."""
        self._started = {}
        listed = await asyncio.gather(*(self._list(zone) for zone in self._hosts))
        if not self._up:
            raise RuntimeUnavailable("no zone's host answers")
        processes = [process for found in listed for process in found]
        self._zone_of = {process.id: process.zone for process in processes} | self._started
        return processes

    async def changed(self) -> None:
        """Of any zone, or a host came or went."""
        for zone, host in self._hosts.items():
            if zone not in self._watches:
                watch = asyncio.create_task(self._changed(zone, host), name=f"zone.{zone}")
                self._watches[zone] = watch
        done, _ = await asyncio.wait(self._watches.values(), return_when=asyncio.FIRST_COMPLETED)
        for zone, watch in list(self._watches.items()):
            if watch in done:
                del self._watches[zone]
                watch.result()

    async def close(self) -> None:
        """Close all connections; idempotent."""
        watches = list(self._watches.values())
        self._watches.clear()
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        for host in self._hosts.values():
            await host.close()

    async def _changed(self, zone: str, host: LocalRuntime) -> None:
        if zone not in self._up:  # Whether it is back is seen by the listing.
            await self._clock.sleep(PROBE_SECONDS)
            return
        try:
            await host.changed()
        except RuntimeUnavailable as error:
            self._lost(zone, error)

    async def _list(self, zone: str) -> Sequence[Process]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if zone in self._up else PROBE_SECONDS):
                await self._settle_debts(zone)
                processes = await self._hosts[zone].list()
        except (RuntimeUnavailable, TimeoutError) as error:
            self._lost(zone, error)
            processes = await asyncio.to_thread(_from_records, self._records[zone])
        else:
            if zone not in self._up:
                logger.info("the host of zone %s is back", zone)
                self._up.add(zone)
                self._tell()
        forgotten = self._forgotten[zone]
        return [replace(one, zone=zone) for one in processes if one.id not in forgotten]

    async def _settle_debts(self, zone: str) -> None:
        host = self._hosts[zone]
        for process_id, grace in list(self._stops[zone].items()):
            await host.stop(process_id, grace_seconds=grace)
            del self._stops[zone][process_id]
        for process_id in list(self._forgotten[zone]):
            await host.forget(process_id)
            self._forgotten[zone].discard(process_id)

    def _lost(self, zone: str, error: Exception) -> None:
        if zone in self._up:
            logger.warning("the host of zone %s is away: %s", zone, error or "no answer")
            self._up.discard(zone)
            watch = self._watches.get(zone)
            if watch is not None and watch is not asyncio.current_task():
                # It waits for a word of the host, which has none to say when it is back: it is looked for instead.
                del self._watches[zone]
                watch.cancel()
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _emptiest(self) -> str:
        if not self._up:
            raise RuntimeUnavailable("no zone's host answers")
        load = Counter(self._zone_of.values())
        return min(self._up, key=lambda zone: (load[zone], zone))


def _from_records(records: Records) -> list[Process]:
    """What a host that is away would say of its processes. Blocks."""
    found = []
    for record in records.all():
        report = records.report(record.spec.id)
        state = record.ended or (report.state if report is not None else ProcessState.STARTING)
        reason = record.reason or (report.reason if report is not None else "")
        lives = report is not None and start_time(report.pid) == report.start
        if state not in _ENDED and not lives:
            state, reason = ProcessState.DEAD, _ORPHANED
        found.append(
            Process(
                id=record.spec.id,
                kind=record.spec.kind,
                pid=report.pid if report is not None else 0,
                state=state,
                address=record.spec.address,
                reason=reason,
                exit_code=record.exit_code,
                progress=report.progress if report is not None else {},
            )
        )
    return found
