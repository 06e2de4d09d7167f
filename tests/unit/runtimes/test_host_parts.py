"""The host's parts one by one: pokes, records, addresses, control groups, a start that fails."""

import os
import stat
from pathlib import Path

import pytest

from modelyard.base.settings import Home, Limits
from modelyard.runtimes import pokes as pokes_module
from modelyard.runtimes.addresses import PATH_LIMIT, make_folder, worker_address
from modelyard.runtimes.cgroups import Cgroups, open_cgroups
from modelyard.runtimes.host import Host
from modelyard.runtimes.pokes import Pokes, poke
from modelyard.runtimes.records import Record, Records, Report, start_time, without_payload
from modelyard.runtimes.runtime import Caps, LogStream, ProcessSpec, ProcessState
from modelyard.testing.clock import ManualClock

LOG = LogStream(account="1", region="r", group="g", stream="s")
SPEC = ProcessSpec(id="a", kind="worker", log=LOG, payload={"environment": {"TOKEN": "secret"}})


def test_a_poke_names_who_poked(tmp_path: Path) -> None:
    pokes = Pokes(tmp_path)
    poke(tmp_path, "one")
    poke(tmp_path, "two")
    poke(tmp_path, "one")
    assert pokes.read() == {"one", "two"}
    assert pokes.read() == set()
    pokes.close()


def test_a_poke_without_a_host_is_forgotten(tmp_path: Path) -> None:
    poke(tmp_path, "one")
    Pokes(tmp_path).close()
    poke(tmp_path, "one")
    pokes = Pokes(tmp_path)
    assert pokes.read() == set()
    pokes.close()


def test_a_flood_of_pokes_means_everyone_and_never_waits(tmp_path: Path) -> None:
    pokes = Pokes(tmp_path)
    for _ in range(20_000):
        poke(tmp_path, "process")
    assert pokes.read() is None
    pokes.read()
    poke(tmp_path, "one")
    assert "one" in (pokes.read() or ())
    pokes.close()


def test_a_file_of_the_pipes_name_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / pokes_module.NAME
    path.write_text("x")
    pokes = Pokes(tmp_path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert path.stat().st_mode & 0o077 == 0
    pokes.close()


def test_a_record_has_no_payload_and_survives(tmp_path: Path) -> None:
    records = Records(tmp_path)
    record = Record(spec=without_payload(SPEC), started_at=1.0, ended=ProcessState.DEAD, reason="x")
    records.save(record)
    assert b"secret" not in (tmp_path / "a.json").read_bytes()
    assert list(records.all()) == [record]
    records.remove("a")
    assert list(records.all()) == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "sp'])
def test_half_a_record_is_removed_and_the_others_are_read(tmp_path: Path, data: bytes) -> None:
    records = Records(tmp_path)
    records.save(Record(spec=without_payload(SPEC), started_at=1.0))
    (tmp_path / "broken.json").write_bytes(data)
    assert [record.spec.id for record in records.all()] == ["a"]
    assert not (tmp_path / "broken.json").exists()


def test_a_record_of_another_format_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text('{"format": 2, "anything": true}')
    assert list(Records(tmp_path).all()) == []
    assert (tmp_path / "new.json").exists()


def test_half_a_report_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.report("a") is None
    (tmp_path / "a.state").write_bytes(b'{"pid": 1')
    assert records.report("a") is None
    report = Report(pid=1, start=2, state=ProcessState.READY, progress={"rows": 3})
    records.save_report("a", report)
    assert records.report("a") == report


def test_only_a_living_process_has_a_start_time() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid()) != 0
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert start_time(pid) is None  # A zombie.
    os.waitpid(pid, 0)
    assert start_time(pid) is None


def test_an_address_is_in_the_home_or_short_and_private(tmp_path: Path) -> None:
    short, deep = Home(Path("/h")), Home(tmp_path / ("d" * 90))
    assert worker_address(short, "a") == "unix:/h/run/w/a.sock"
    address = worker_address(deep, "a")
    path = Path(address.removeprefix("unix:"))
    assert len(str(path)) <= PATH_LIMIT
    assert worker_address(deep, "a") == address != worker_address(Home(tmp_path / ("e" * 90)), "a")
    make_folder(address)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.rmdir()


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "w").symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError):
        make_folder(f"unix:{tmp_path}/w/a.sock")


def test_caps_are_written_to_control_groups_of_version_1(tmp_path: Path) -> None:
    for controller in ("memory", "cpu", "pids"):
        (tmp_path / controller).mkdir()
    cgroups = open_cgroups(Path("/home"), root=tmp_path)
    assert (cgroups.version, cgroups.reason) == (1, "")
    cgroups.create("a", Caps(cpus=0.5, memory_bytes=1 << 30))
    folders = {name: folder / "a" for name, folder in cgroups.folders.items()}
    assert (folders["memory"] / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (folders["cpu"] / "cpu.cfs_quota_us").read_text() == "50000"
    (folders["memory"] / "memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    assert cgroups.was_killed_for_memory("a")
    assert not cgroups.was_killed_for_memory("b")
    cgroups.close()  # Processes go on in it.
    assert (folders["pids"] / "pids.max").exists()


def test_without_control_groups_nothing_is_limited_and_the_reason_is_told(tmp_path: Path) -> None:
    cgroups = open_cgroups(Path("/home"), root=tmp_path)
    assert cgroups.reason
    cgroups.create("a", Caps(cpus=1.0))
    cgroups.join("a")
    assert not cgroups.was_killed_for_memory("a")
    cgroups.remove("a")


def test_a_start_that_fails_leaves_no_trace_and_can_be_repeated(tmp_path: Path) -> None:
    class NoRoom(Cgroups):
        def create(self, process_id: str, caps: Caps) -> None:
            raise OSError("no space left")

    home = Home(tmp_path)
    home.create()
    host = Host(
        home=home,
        limits=Limits(),
        mains={"worker": lambda *_: 0},
        sink=lambda *_: None,
        cgroups=NoRoom({}, 0),
        clock=ManualClock(),
    )
    for _ in range(2):
        with pytest.raises(OSError, match="no space left"):
            host.start(SPEC)
    assert host.processes() == []
    assert list(home.processes.iterdir()) == []


def test_a_record_that_goes_while_all_are_read_is_left_out(tmp_path: Path) -> None:
    """A host that was believed away forgets a process, say."""
    records = Records(tmp_path)
    for name in ("a", "b", "c"):
        spec = ProcessSpec(id=name, kind="worker", log=LOG)
        records.save(Record(spec=spec, started_at=1.0))
    found = records.all()
    assert next(found).spec.id == "a"
    records.remove("b")
    assert [record.spec.id for record in found] == ["c"]
