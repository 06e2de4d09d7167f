"""Before a process is control: it waits for the lease, and ends a holder that lives and does nothing."""

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from modelyard.base.clock import SystemClock
from modelyard.runtimes.records import start_time
from modelyard.server.process import Start
from modelyard.store.lease import Holder, Lease, Standby

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.05
ANSWER_SECONDS = 2.0
_ASK = b"GET /_modelyard/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def take_lease(start: Start, *, prepare: Callable[[], None]) -> Lease:
    """Wait for it; blocks, for as long as another control does its work. ``prepare`` is called before a wait, and that noted."""
    me = Holder(start.name, os.getpid(), start_time(os.getpid()) or 0)
    lease = Lease(start.home.lease, me)
    standby = Standby(
        lease,
        answers=lambda: answers(start.home.socket("control")),
        end=end,
        now=SystemClock().monotonic,
    )
    if standby.look():
        return lease
    logger.info("standing by")
    prepare()
    with contextlib.suppress(OSError):  # On a full disk it is not said; it stands by all the same.
        start.home.standing_by(start.name).write_bytes(msgspec.json.encode(me))
    while not standby.look():
        time.sleep(LOOK_SECONDS)
    logger.info("took over")
    return lease


def answers(path: Path) -> bool:
    """Whether whoever listens there answers, whatever it says."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ANSWER_SECONDS)
        try:
            probe.connect(str(path))
            probe.sendall(_ASK)
            return bool(probe.recv(64))
        except OSError:
            return False


def end(holder: Holder) -> None:
    """SIGKILL to this very process, and to none that has got its number since."""
    try:
        process = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        if start_time(holder.pid) == holder.start:
            logger.warning("%s, process %d, gives no sign of life", holder.name, holder.pid)
            signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
