"""Processes that all want to be control: killed, stopped and resumed in any order, while clocks are set."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.store.lease import ASK_SECONDS, PATIENCE_SECONDS, Holder, Lease, Standby
from modelyard.store.resources import Create, Key
from modelyard.store.sqlite import Deposed, SqliteResourceStore
from modelyard.testing.clock import ManualClock

PROCESSES = 3


@dataclass
class Control:
    """One process: it stands by until it holds the lease; then it has opened the store."""

    holder: Holder
    lease: Lease
    standby: Standby
    store: SqliteResourceStore | None = None
    is_hung: bool = False
    is_deposed: bool = False

    def end(self) -> None:
        self.lease.close()
        if self.store is not None:
            self.store.close()


class LeaseMachine(RuleBasedStateMachine):
    """``lock_fails`` is a file system whose locks exclude nobody: then only the epoch does."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lease-"))
        self.clock = ManualClock()
        self.loop = asyncio.new_event_loop()
        self.pids = 0
        self.names = 0
        self.heard_at = 0.0
        self.controls: list[Control] = []

    @initialize()
    def begin(self) -> None:
        for _ in range(PROCESSES):
            self._start()

    def _start(self) -> None:
        self.pids += 1
        holder = Holder(f"control-{self.pids}", self.pids, 1)
        lease = Lease(self.folder / "control.lease", holder)
        standby = Standby(
            lease, answers=self._someone_answers, end=self._end, now=self.clock.monotonic
        )
        self.controls.append(Control(holder, lease, standby))

    def _someone_answers(self) -> bool:
        answered = any(c.store and not c.is_hung and not c.is_deposed for c in self.controls)
        if answered:
            self.heard_at = self.clock.monotonic()
        return answered

    def _end(self, holder: Holder) -> None:
        """SIGKILL, as the stand-by sends it; the supervisor starts another."""
        (victim,) = [control for control in self.controls if control.holder == holder]
        assert victim.is_hung or victim.is_deposed, "a holder that answers was ended"
        assert self.clock.monotonic() - self.heard_at >= PATIENCE_SECONDS
        self._kill(victim)

    def _kill(self, control: Control) -> None:
        self.controls.remove(control)
        control.end()
        self._start()

    def _look(self, control: Control) -> None:
        if control.is_hung or control.store is not None or not control.standby.look():
            return

        def deposed() -> None:
            control.is_deposed = True

        path = self.folder / "state.db"
        control.store = SqliteResourceStore(path, clock=self.clock, deposed=deposed)

    @rule(pick=st.integers(0, PROCESSES - 1))
    def one_looks(self, pick: int) -> None:
        self._look(self.controls[pick])

    @rule(seconds=st.sampled_from([0.0625, 1.0, 5.0, 30.0]))
    def time_passes_and_all_look(self, seconds: float) -> None:
        """In steps, as running processes see it."""
        for _ in range(max(1, int(seconds / ASK_SECONDS))):
            self.clock.advance(min(seconds, ASK_SECONDS))
            for control in list(self.controls):
                self._look(control)

    @rule(seconds=st.sampled_from([60.0, 3600.0]))
    def all_are_stopped_and_resumed(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400.0, -1.0, 60.0, 86_400.0]))
    def somebody_sets_the_clock(self, seconds: float) -> None:
        self.clock.step_wall_time(seconds)

    @rule(pick=st.integers(0, PROCESSES - 1))
    def one_is_killed(self, pick: int) -> None:
        self._kill(self.controls[pick])

    @rule(pick=st.integers(0, PROCESSES - 1))
    def one_hangs(self, pick: int) -> None:
        self.controls[pick].is_hung = True

    @rule(pick=st.integers(0, PROCESSES - 1))
    def one_goes_on(self, pick: int) -> None:
        self.controls[pick].is_hung = False

    @rule(pick=st.integers(0, PROCESSES - 1))
    def a_lock_fails(self, pick: int) -> None:
        """Of a holder that does not notice, and that nobody can end: a home on a network file system."""
        control = self.controls[pick]
        if control.store is not None:
            control.lease.close()

    @rule(pick=st.integers(0, PROCESSES - 1))
    def one_writes(self, pick: int) -> None:
        control = self.controls[pick]
        if control.store is None or control.is_hung:
            return
        self.names += 1
        key = Key(kind="model", account="1", region="r", name=f"m{self.names}")
        newest = max(
            (one for one in self.controls if one.store),
            key=lambda one: one.store._epoch if one.store else 0,
        )
        try:
            self.loop.run_until_complete(
                control.store.write(Create(key=key, spec={"by": control.holder.name}))
            )
        except Deposed:
            assert control is not newest, "the one who took the lease last was refused"
            assert control.is_deposed
            self._kill(control)
            return
        assert control is newest, "a write of a control that was deposed was kept"

    @invariant()
    def a_lock_has_one_holder(self) -> None:
        holders = [c for c in self.controls if c.store and c.lease._descriptor >= 0]
        assert len(holders) <= 1

    def teardown(self) -> None:
        for control in list(self.controls):
            control.is_hung = False
            if control.store is not None and control.lease._descriptor < 0:
                self._kill(control)
        self.time_passes_and_all_look(75.0)
        leaders = [c for c in self.controls if c.store and c.lease._descriptor >= 0]
        assert len(leaders) == 1, "nobody leads"
        for control in self.controls:
            control.end()
        self.loop.close()
        shutil.rmtree(self.folder)


LeaseMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLease = LeaseMachine.TestCase
