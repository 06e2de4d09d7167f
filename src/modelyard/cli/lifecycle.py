"""``up``, ``down``, ``status``, ``reset``, ``backup`` and ``restore``: the platform itself."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError

from modelyard import native
from modelyard.base import log
from modelyard.base.settings import MIB, Home, Limits, Settings, default_home, read_tracing
from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption
from modelyard.cli.platform import CommandFailed, Platform, connect, describe
from modelyard.server import backup as copies
from modelyard.server import supervisor
from modelyard.server.functions import BadTarget, parse_target
from modelyard.server.status import disk, protections
from modelyard.server.trace_headers import save_headers

START_SECONDS = 180.0
STOP_SECONDS = 90.0
AWS_PAYLOAD_BYTES = 6 * MIB


class Isolation(StrEnum):
    """``base.settings.IsolationMode``, as typer takes it."""

    AUTO = "auto"
    REQUIRE = "require"
    OFF = "off"


def up(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 picks a free one.")
    ] = 8650,
    home: HomeOption = None,
    gateways: Annotated[
        int, typer.Option("--gateways", min=1, max=64, help="Gateway processes.")
    ] = 1,
    zones: Annotated[
        int,
        typer.Option(
            "--zones", min=1, max=8, help="Zones, each with a host; replicas spread over them."
        ),
    ] = 1,
    standby: Annotated[
        bool, typer.Option("--standby", help="A second control process, which takes over.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready.")
    ] = False,
    account: Annotated[str, typer.Option("--account", help="AWS account id.")] = "123456789012",
    region: Annotated[
        str, typer.Option("--region", help="Region where a request names none.")
    ] = "us-east-1",
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Do not check signatures; loopback only.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="AWS's modelled payload limit of 6 MiB.")
    ] = False,
    strict_roles: Annotated[
        bool, typer.Option("--strict-roles", help="Refuse unknown role ARNs.")
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", metavar="NAME=VALUE", help="Change a bound, such as invocation_seconds=120."
        ),
    ] = None,
    trust_import: Annotated[
        list[str] | None,
        typer.Option(
            "--trust-import",
            metavar="MODULE.CLASS",
            help="Allow pickled models to hold this class.",
        ),
    ] = None,
    isolation: Annotated[
        Isolation,
        typer.Option("--isolation", help="A system of its own for each worker; auto: if possible."),
    ] = Isolation.AUTO,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="PEM chain: speak HTTPS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM private key.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")
    ] = False,
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            "--webhook",
            metavar="ARN=URL",
            help="Post messages to this SNS topic there. Repeatable.",
        ),
    ] = None,
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--lambda",
            metavar="ARN=URL",
            help="Where the Lambda function is that bots call: an address that takes events, or a Python "
            "function as MODULE:FUNCTION, looked for in this folder. Repeatable.",
        ),
    ] = None,
    s3_endpoint: Annotated[
        str,
        typer.Option(
            "--s3-endpoint",
            metavar="URL",
            help="Models, inputs and outputs lie in this S3, not in the platform's own; its keys are "
            "MODELYARD_S3_ACCESS_KEY_ID and MODELYARD_S3_SECRET_ACCESS_KEY, or those of your AWS profile.",
        ),
    ] = "",
) -> None:
    """Start a platform. It runs until Ctrl-C, or with [bold]--detach[/] until [bold]modelyard down[/]."""
    if len(account) != 12 or not account.isdigit():
        raise CommandFailed(f"--account {account!r} is not 12 digits.")
    settings = Settings(
        home=home.absolute() if home else default_home(),
        host=host,
        port=port,
        gateways=gateways,
        zones=zones,
        standby=standby,
        account=account,
        region=region,
        auth=not no_auth,
        strict_roles=strict_roles,
        isolation=isolation.value,
        tls_cert=tls_cert.absolute() if tls_cert else None,
        tls_key=tls_key.absolute() if tls_key else None,
        insecure=insecure,
        s3_endpoint=s3_endpoint,
        webhooks=tuple(webhook or ()),
        lambdas=_lambdas(function or []),
        lambda_folder=Path.cwd() if function else None,
        trusted_imports=tuple(trust_import or ()),
        limits=_limits(limit or [], strict=strict),
    )
    _save_external_s3(settings)
    settings = _with_tracing(settings)
    try:
        if detach:
            _start_detached(settings)
        else:
            log.configure("supervisor", level="WARNING")
            supervisor.run(settings, on_ready=_announce)
    except supervisor.StartRefused as refusal:
        raise CommandFailed(str(refusal)) from refusal


def _save_external_s3(settings: Settings) -> None:
    home = Home(settings.home)
    if not settings.s3_endpoint:
        home.external_s3.unlink(missing_ok=True)
        return
    from modelyard.store.external_objects import from_environment

    try:
        external = from_environment(settings.s3_endpoint, region=settings.region)
    except LookupError as error:
        raise CommandFailed(str(error)) from error
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    external.save(home.external_s3)


def _with_tracing(settings: Settings) -> Settings:
    """Traces, if the environment asks for them."""
    try:
        found = read_tracing()
    except ValueError as error:
        raise CommandFailed(str(error), "OTEL_SDK_DISABLED=true starts without traces.") from error
    tracing, headers = found or (None, None)
    if tracing is not None and tracing.certificate and not Path(tracing.certificate).is_file():
        raise CommandFailed(f"{tracing.certificate} does not exist or is no file.")
    save_headers(Home(settings.home).trace_headers, headers)
    return replace(settings, tracing=tracing)


def _lambdas(texts: list[str]) -> tuple[str, ...]:
    """Raises ``CommandFailed`` for what is no function."""
    for text in texts:
        try:
            parse_target(text)
        except BadTarget as error:
            raise CommandFailed(
                f"--lambda {text}: {error}", "Say ARN=http://… or ARN=MODULE:FUNCTION."
            ) from None
    return tuple(texts)


def _limits(texts: list[str], *, strict: bool) -> Limits:
    """The bounds of ``base.settings.Limits`` with some changed. Raises ``CommandFailed`` naming those that exist."""
    limits = replace(Limits(), payload_bytes=AWS_PAYLOAD_BYTES) if strict else Limits()
    known = {field.name: field.type for field in fields(Limits)}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise CommandFailed(f"There is no bound {name!r}.", f"Known are {', '.join(known)}.")
        try:
            number = int(value) if known[name] is int else float(value)
        except ValueError:
            raise CommandFailed(f"--limit {text}: {value!r} is no number.") from None
        if number <= 0:
            raise CommandFailed(f"--limit {text}: a bound has to be positive.")
        changed: dict[str, Any] = {name: number}
        limits = replace(limits, **changed)
    return limits


def _announce(settings: Settings) -> None:
    output.notes.print(f"Modelyard is ready on [bold]{settings.url}[/] (home {settings.home}).")
    _tell_of_installation(settings)
    output.notes.print("Use it from another terminal: eval $(modelyard env)   Stop: Ctrl-C")


def _tell_of_installation(settings: Settings) -> None:
    """A line where models are not isolated although nobody asked for that, and one where C was left out."""
    reason = protections(Home(settings.home))["isolation"]
    if reason and settings.isolation != "off":
        output.notes.print(
            f"Isolation is off: {reason}. Models run as this user.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if native.why_not:
        output.notes.print(
            f"The hot paths run {native.in_words()}.", style="yellow", markup=False, soft_wrap=True
        )


def _start_detached(settings: Settings) -> None:
    supervisor.check(settings)
    home = Home(settings.home)
    if supervisor.running_pid(home) is not None:
        raise CommandFailed(
            f"A platform is running on {home.root} already.",
            "See it with `modelyard status`, stop it with `modelyard down`.",
        )
    home.create()
    wanted = home.run / "wanted.json"
    wanted.write_bytes(settings.to_json())
    home.settings.unlink(missing_ok=True)  # It comes back with the real port when that is bound.
    with (home.logs / "supervisor.log").open("ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard.server.supervisor", str(wanted)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
        )
    settings = _wait_until_ready(process, home, begin)
    output.notes.print(f"Modelyard is ready on [bold]{settings.url}[/] (home {settings.home}).")
    _tell_of_installation(settings)
    output.notes.print("Next: eval $(modelyard env)   or   modelyard deploy MODEL --name NAME")


def _wait_until_ready(process: subprocess.Popen[bytes], home: Home, begin: int) -> Settings:
    """The settings with the port that was bound. Raises ``CommandFailed`` with what the log says."""
    deadline = time.monotonic() + START_SECONDS
    with output.notes.status("Starting Modelyard …"):
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                settings = Settings.from_json(home.settings.read_bytes())
                if supervisor.is_ready(settings):
                    return settings
            time.sleep(0.02)
    with (home.logs / "supervisor.log").open("rb") as file:
        file.seek(begin)
        said = file.read()[-2000:].decode("utf-8", "replace").strip()
    if process.poll() is None:
        process.terminate()
        said = f"It was not ready after {START_SECONDS:.0f} s.\n{said}"
    raise CommandFailed(said or "The platform ended at its start.", f"Logs: {home.logs}")


def down(home: HomeOption = None) -> None:
    """Stop the platform: finish requests, drain workers, keep all data."""
    root = Home(home or default_home())
    pid = supervisor.running_pid(root)
    if pid is None:
        output.notes.print(f"No platform is running on {root.root}.")
        return
    if pid == 0:
        raise CommandFailed("The platform is starting.", "Try again in a second.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    with output.notes.status("Stopping …"):
        while supervisor.running_pid(root) is not None:
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"Process {pid} still runs after {STOP_SECONDS:.0f} s.", f"Logs: {root.logs}"
                )
            time.sleep(0.05)
    output.notes.print("Stopped.")


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show whether the platform runs, its processes and what they use. Exit status 3: it is down."""
    root = Home(home or default_home())
    pid = supervisor.running_pid(root)
    if pid is None:
        if as_json:
            output.print_json({"state": "down", "home": str(root.root)})
        else:
            output.console.print(f"No platform is running on {root.root}.")
        raise typer.Exit(3)
    platform = describe(root)
    health = _health(platform)
    if as_json:
        output.print_json({"state": "running", "pid": pid, "url": platform.url, **health})
        return
    rows: list[tuple[object, ...]] = [
        ("Address", platform.url),
        ("Home", root.root),
        ("Account, region", f"{platform.settings.account}, {platform.settings.region}"),
        *(("Traces", f"to {traces.endpoint}") for traces in (platform.settings.tracing,) if traces),
        ("Signatures", "verified" if platform.settings.auth else "not checked (--no-auth)"),
        *((name, text) for name, text in health.get("facts", {}).items()),
    ]
    output.print_table(("", ""), rows, empty="")
    output.console.print()
    output.print_table(
        ("PROCESS", "STATE", "PID", "MEMORY (PSS)"),
        [
            (p["name"], p["state"], p["pid"], f"{p['memory'] / MIB:.0f} MiB")
            for p in health["processes"]
        ],
        empty="",
    )


def _health(platform: Platform) -> dict[str, Any]:
    """What control says of the platform; it counts processes even when it has no model to show."""
    try:
        health: dict[str, Any] = json.loads(platform.own_call("GET", "/_modelyard/status"))
    except BotoCoreError as error:
        raise CommandFailed(
            f"The platform runs, but its control process does not answer: {error}",
            f"Disk: {disk(platform.home)}. Logs: {platform.home.logs}",
        ) from error
    except CommandFailed as failure:
        raise CommandFailed(failure.message, f"Disk: {disk(platform.home)}.") from failure
    return health


def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeOption = None,
) -> None:
    """Empty a running platform: every resource, object, log line and worker. For test suites."""
    platform = connect(home)
    if not yes:
        typer.confirm(f"Delete everything in the platform at {platform.url}?", abort=True)
    platform.own_call("POST", "/_modelyard/reset")
    output.notes.print("The platform is empty.")


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write, such as modelyard.tar.")],
    home: HomeOption = None,
) -> None:
    """Save resources, objects and credentials of a platform, running or not, to one file."""
    root = Home(home or default_home())
    try:
        size = copies.backup(root, target)
    except copies.BackupFailed as failure:
        raise CommandFailed(str(failure)) from failure
    output.notes.print(f"Saved {root.root} to {target} ({size / MIB:.1f} MiB).")


def restore(
    source: Annotated[Path, typer.Argument(help="A file that modelyard backup wrote.")],
    home: HomeOption = None,
) -> None:
    """Bring a backup back into an empty home, or into the home of a running platform."""
    root = Home(home or default_home())
    try:
        copies.restore(root, source)
    except copies.BackupFailed as failure:
        raise CommandFailed(str(failure)) from failure
    output.notes.print(f"Restored {source} into {root.root}. Start it: modelyard up --detach")
