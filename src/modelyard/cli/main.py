"""``modelyard``: the commands, each a thin client of the platform's public API."""

from typing import Annotated

import typer

import modelyard
from modelyard.cli import (
    chat,
    environment,
    hosting,
    image,
    lifecycle,
    logs,
    models,
    output,
    rehearse,
    rollout,
    simulate,
    top,
    transform,
    usage,
)

app = typer.Typer(
    name="modelyard",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""The ML operations platform you run yourself.

It speaks AWS's APIs (SageMaker, S3, STS, IAM, CloudWatch Logs) on one local port, and really executes them.

[bold]Start in a minute[/]

  modelyard up --detach                         start a platform
  modelyard deploy model.onnx --name demo       serve a model
  modelyard invoke demo --body '1,2,3'          ask it
  eval $(modelyard env)                         let boto3, aws and the SageMaker SDK use it
  modelyard down                                stop
""",
)

PLATFORM, SERVING, CLIENTS = "Platform", "Models, endpoints and jobs", "AWS clients"
app.command("up", rich_help_panel=PLATFORM)(lifecycle.up)
app.command("down", rich_help_panel=PLATFORM)(lifecycle.down)
app.command("status", rich_help_panel=PLATFORM)(lifecycle.status)
app.command("reset", rich_help_panel=PLATFORM)(lifecycle.reset)
app.command("backup", rich_help_panel=PLATFORM)(lifecycle.backup)
app.command("restore", rich_help_panel=PLATFORM)(lifecycle.restore)
app.command("deploy", rich_help_panel=SERVING)(hosting.deploy)
app.command("invoke", rich_help_panel=SERVING)(hosting.invoke)
app.command("transform", rich_help_panel=SERVING)(transform.transform)
app.command("list", rich_help_panel=SERVING)(hosting.list_resources)
app.command("logs", rich_help_panel=SERVING)(logs.logs)
app.command("top", rich_help_panel=SERVING)(top.top)
app.command("delete", rich_help_panel=SERVING)(hosting.delete)
app.add_typer(rollout.app, name="rollout", rich_help_panel=SERVING)
app.command("rehearse", rich_help_panel=SERVING)(rehearse.command)
app.add_typer(simulate.app, name="simulate", rich_help_panel=SERVING)
app.add_typer(image.app, name="image", rich_help_panel=SERVING)
app.add_typer(models.app, name="models", rich_help_panel=SERVING)
app.command("chat", rich_help_panel=SERVING)(chat.chat)
app.command("usage", rich_help_panel=SERVING)(usage.usage)
app.command("env", rich_help_panel=CLIENTS)(environment.env)
app.command("configure", rich_help_panel=CLIENTS)(environment.configure)
app.command(
    "run",
    rich_help_panel=CLIENTS,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(environment.run)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelyard {modelyard.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """The entry point of the installed command."""
    with output.readable_errors(SystemExit):
        app()


if __name__ == "__main__":
    main()
