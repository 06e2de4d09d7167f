"""``image add``, ``list`` and ``remove``: programs of this machine as container images."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from modelyard.base.settings import Home, default_home
from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption
from modelyard.cli.platform import CommandFailed
from modelyard.domain.images import RUNTIMES, Program, repository
from modelyard.runtimes.images import LocalImages

app = typer.Typer(
    no_args_is_help=True,
    help="""Programs of this machine as container images, without a container runtime.

A program that answers [bold]serve[/] with GET /ping and POST /invocations on port 8080, as AWS's containers do, becomes an
image: every image URI whose repository is NAME means it, whatever its account, region and tag.

  modelyard image add decision-trees --dir ./container/decision_trees
""",
)
_NAME = re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*")
_NAME_LIMIT = 200


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The image's repository name.")],
    command: Annotated[
        str,
        typer.Option(
            "--command",
            help="What is run, with the argument serve; the default is the program serve in the folder.",
        ),
    ] = "",
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Its folder, seen as /opt/program, its working directory."),
    ] = None,
    reads: Annotated[
        list[Path] | None,
        typer.Option("--read", help="A further folder that it may read, such as its venv."),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="As ENV of an image.")
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="private: nothing but loopback, port 8080; shared: this machine's, on the port "
            "SAGEMAKER_BIND_TO_PORT."
        ),
    ] = "private",
    home: HomeOption = None,
) -> None:
    """Make a local program an image; a known NAME is replaced. Running endpoints keep what they have."""
    _check_name(name)
    place = _folder(folder) if folder is not None else ""
    words = shlex.split(command)
    if not words and not place:
        raise CommandFailed("Say what to run.", "--command '…', or --dir of a folder with `serve`.")
    if not words and not (Path(place) / "serve").is_file():
        raise CommandFailed(
            f"{place} holds no program `serve`.", "Say what to run: --command 'python server.py'"
        )
    if words and not place and shutil.which(words[0]) is None:
        raise CommandFailed(f"There is no program {words[0]!r}.", "Give its path, or --dir.")
    program = Program(
        name=name,
        command=tuple(words),
        folder=place,
        reads=tuple(_folder(one) for one in reads or []),
        environment=_variables(variables or []),
        network=_network(network),
    )
    is_new = _images(home).add(program)
    output.notes.print(
        f"Image {name} {'is added' if is_new else 'is replaced'}. Serve it: "
        f"modelyard deploy MODEL --name NAME --image {name}",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_images(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the local images."""
    programs = sorted(_images(home).all().values(), key=lambda one: one.name)
    if as_json:
        output.print_json([msgspec.structs.asdict(program) for program in programs])
        return
    output.print_table(
        ("NAME", "COMMAND", "FOLDER", "NETWORK"),
        [
            (one.name, shlex.join([*one.command, "serve"]), one.folder, one.network)
            for one in programs
        ],
        empty="There are no local images. Add one: modelyard image add NAME --dir FOLDER",
    )


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The image's name.")], home: HomeOption = None
) -> None:
    """Forget a local image. Endpoints that run it go on."""
    if not _images(home).remove(name):
        raise CommandFailed(f"There is no local image {name}.", "See: modelyard image list")
    output.notes.print(f"Image {name} is removed.")


def _images(home: Path | None) -> LocalImages:
    return LocalImages(Home(home or default_home()).images)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT or repository(name) != name:
        raise CommandFailed(
            f"{name!r} is no repository name.",
            "Lower-case letters, digits and . _ - / between them; no account, region or tag.",
        )
    if name in RUNTIMES:
        raise CommandFailed(f"{name} is a built-in image of Modelyard.", "Choose another name.")


def _folder(path: Path) -> str:
    if not path.is_dir():
        raise CommandFailed(f"{path} is no folder.")
    return str(path.absolute())


def _network(text: str) -> Literal["private", "shared"]:
    match text:
        case "private":
            return "private"
        case "shared":
            return "shared"
    raise CommandFailed(f"--network {text!r} is neither private nor shared.")


def _variables(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandFailed(f"--env {text!r} is not NAME=VALUE.")
        pairs[name] = value
    return pairs
