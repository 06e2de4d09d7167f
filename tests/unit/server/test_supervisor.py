"""What the supervisor refuses before it starts anything."""

import socket
from pathlib import Path

import pytest

from modelyard.base.settings import Settings
from modelyard.server import supervisor


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_no_auth_is_allowed_on_loopback(host: str, tmp_path: Path) -> None:
    supervisor.check(Settings(home=tmp_path, host=host, auth=False))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "::", "example.com"])
def test_no_auth_is_refused_elsewhere_even_with_insecure(host: str, tmp_path: Path) -> None:
    with pytest.raises(supervisor.StartRefused, match="--no-auth is for loopback"):
        supervisor.check(Settings(home=tmp_path, host=host, auth=False, insecure=True))


def test_an_address_that_others_reach_needs_tls_or_a_word(tmp_path: Path) -> None:
    with pytest.raises(supervisor.StartRefused, match="--insecure"):
        supervisor.check(Settings(home=tmp_path, host="0.0.0.0"))
    supervisor.check(Settings(home=tmp_path, host="0.0.0.0", insecure=True))


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(supervisor.StartRefused, match="go together"):
        supervisor.check(Settings(home=tmp_path, tls_cert=tmp_path / "cert.pem"))


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "cert.pem"
    with pytest.raises(supervisor.StartRefused, match=str(missing)):
        supervisor.check(Settings(home=tmp_path, tls_cert=missing, tls_key=missing))


def test_a_home_that_was_never_used_has_no_platform(tmp_path: Path) -> None:
    assert supervisor.running_pid(supervisor.Home(tmp_path)) is None


def test_settings_are_replaced_and_never_seen_half_written(tmp_path: Path) -> None:
    home = supervisor.Home(tmp_path)
    home.create()
    supervisor._write_settings(home, Settings(home=tmp_path, port=1))
    with home.settings.open("rb") as reader:  # Began to read before they are written again.
        supervisor._write_settings(home, Settings(home=tmp_path, port=2))
        assert Settings.from_json(reader.read()).port == 1
    assert Settings.from_json(home.settings.read_bytes()).port == 2


def test_a_home_too_long_for_sockets_is_refused_and_one_byte_less_is_not() -> None:
    longest = supervisor.SOCKET_PATH_BYTES - len("/run/models-gateway-0.sock")
    supervisor.check(Settings(home=Path("/" + "h" * (longest - 1))))
    with pytest.raises(supervisor.StartRefused, match=r"too long .* by 1 bytes"):
        supervisor.check(Settings(home=Path("/" + "h" * longest)))


def test_a_process_that_cannot_be_started_now_is_started_later_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    """The machine has no more processes or memory for a moment, say."""
    home = supervisor.Home(tmp_path)
    home.create()
    with socket.socket() as listener:
        watch = supervisor.Supervisor(Settings(home=tmp_path), listener)
    missing, there = str(tmp_path / "missing"), "/bin/true"
    watch._children = [
        supervisor.Child(name="objects", command=[missing]),
        supervisor.Child(name="control", command=[there]),
    ]
    failed, started = watch._children
    watch._start_due()
    assert failed.process is None
    assert failed.restart_at is not None and watch._seconds_to_next(announced=True) is not None
    assert started.process is not None and started.process.wait() == 0
    failed.command, failed.restart_at = [there], 0.0
    watch._start_due()
    assert failed.process is not None and failed.process.wait() == 0
    assert failed.restart_at is None
