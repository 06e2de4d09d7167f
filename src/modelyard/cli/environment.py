"""``env``, ``configure`` and ``run``: other people's AWS clients meet the platform."""

import configparser
import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import output
from modelyard.cli.interception import intercepted
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, connect

PROFILE = "modelyard"


def env(home: HomeOption = None, region: RegionOption = None, as_json: JsonOption = False) -> None:
    """Print export lines for boto3, the AWS CLI and the SageMaker SDK: [bold]eval $(modelyard env)[/]."""
    variables = connect(home, region=region).environment()
    if as_json:
        output.print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def configure(home: HomeOption = None, region: RegionOption = None) -> None:
    """Write an AWS profile named [bold]modelyard[/] to ~/.aws: then use [bold]aws --profile modelyard[/]."""
    platform = connect(home, region=region)
    folder = Path("~/.aws").expanduser()
    config = Path(os.environ.get("AWS_CONFIG_FILE", folder / "config"))
    credentials = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", folder / "credentials"))
    settings = {"region": platform.region, "endpoint_url": platform.url}
    if platform.settings.tls_cert is not None:
        settings["ca_bundle"] = str(platform.settings.tls_cert)
    _write_section(config, f"profile {PROFILE}", settings)
    _write_section(
        credentials,
        PROFILE,
        {
            "aws_access_key_id": platform.credentials.access_key_id,
            "aws_secret_access_key": platform.credentials.secret_access_key,
        },
    )
    output.notes.print(f"Profile {PROFILE} is in {config} and {credentials}. Try:")
    output.notes.print(f"  aws --profile {PROFILE} sagemaker list-endpoints", markup=False)


def _write_section(path: Path, section: str, values: dict[str, str]) -> None:
    """Replace one section and leave the others as they are; the file is private to its user."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys keep their case
    parser.read(path)
    parser[section] = values
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".modelyard-tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        parser.write(file)
    os.replace(temporary, path)


def run(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(help="The program and its arguments.")
    ] = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Run any program with every AWS address, hard-coded ones too, leading to this platform.

    Sets the environment, a certificate bundle and a local HTTPS proxy, so that [bold]*.amazonaws.com[/] reaches the
    platform; other addresses pass through. Example: [bold]modelyard run -- python train.py[/]
    """
    arguments = [*(command or []), *context.args]
    if not arguments:
        raise CommandFailed("Nothing to run.", "Example: modelyard run -- python script.py")
    platform = connect(home, region=region)
    with intercepted(platform) as variables:
        environment = {**os.environ, **platform.environment(), **variables}
        environment.pop("AWS_PROFILE", None)  # A profile would win over the keys that are set here.
        try:
            finished = subprocess.run(arguments, env=environment, check=False)
        except FileNotFoundError as error:
            raise CommandFailed(f"There is no program {arguments[0]!r}.") from error
    raise typer.Exit(finished.returncode if finished.returncode >= 0 else 128 - finished.returncode)
