"""``models list``, ``install``, ``verify``, ``remove``, ``add`` and ``use``: the model packs behind the AI services."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from modelyard.ai import installing
from modelyard.ai.catalogue import (
    ANY,
    Catalogue,
    Licence,
    Pack,
    Serves,
    choice_key,
    mending,
    write_choices,
)
from modelyard.ai.engine import ENGINES
from modelyard.base.settings import Home, default_home
from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption
from modelyard.cli.platform import CommandFailed

app = typer.Typer(
    no_args_is_help=True,
    help="""Models behind the AI services.

Comprehend and its like answer from models that come as [bold]packs[/]. A service whose pack is not installed says which
command installs it.

  modelyard models list
  modelyard models install sentiment-en
""",
)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
_Name = Annotated[str, typer.Argument(help="The pack's name.")]


@app.command("list")
def list_packs(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every pack: what it serves, whether it is installed, its licence and size."""
    catalogue = _catalogue(home)
    choices = catalogue.choices()
    rows = [_row(catalogue, pack) for pack in catalogue.packs()]
    if as_json:
        output.print_json({"packs": [row[-1] for row in rows], "choices": choices})
        return
    output.print_table(
        ("PACK", "STATE", "SERVES", "LANGUAGES", "WEIGHTS", "MB"),
        [row[:-1] for row in rows],
        empty="",
    )
    for place, name in sorted(choices.items()):
        output.notes.print(f"{place} is served by {name}.", markup=False)


def _row(catalogue: Catalogue, pack: Pack) -> tuple[object, ...]:
    ready = catalogue.ready(pack.name) is not None
    state = "ready" if ready else "not installed"
    about = {**msgspec.to_builtins(pack), "state": state}
    if not ready:
        about["install"] = mending(pack)
    tasks = sorted({f"{one.service} {one.task}" for one in pack.serves})
    languages = sorted({language for one in pack.serves for language in one.languages})
    accept = " (to be accepted)" if pack.licence.accept else ""
    return (
        pack.name,
        state,
        ", ".join(tasks),
        "all" if languages == [ANY] else " ".join(languages),
        pack.licence.weights + accept,
        f"{pack.bytes / 1e6:.1f}",
        about,
    )


@app.command("install")
def install(
    names: Annotated[list[str], typer.Argument(help="The packs' names.")],
    accept_license: Annotated[
        bool,
        typer.Option(
            "--accept-license", help="Accept a licence that is copyleft or not clear; see the list."
        ),
    ] = False,
    home: HomeOption = None,
) -> None:
    """Fetch a pack by pip or npm, compare it with its pins, build it, and put it in place."""
    catalogue, root = _catalogue(home), _root(home)
    for pack in [_known(catalogue, name) for name in names]:
        with _failures():
            if pack.has_files:
                installing.install(
                    pack,
                    root,
                    accept_licence=accept_license,
                    say=lambda text, name=pack.name: output.notes.print(  # type: ignore[misc]
                        f"{name}: {text} ...", markup=False
                    ),
                )
            elif catalogue.ready(pack.name) is None:
                raise CommandFailed(f"{pack.name} needs libraries.", mending(pack))
        output.notes.print(f"{pack.name} is ready.", markup=False)


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="The packs' names; all without.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Compare what is installed with what was pinned."""
    catalogue, root = _catalogue(home), _root(home)
    wanted = names or [one.name for one in catalogue.packs() if catalogue.ready(one.name)]
    bad = 0
    for pack in [_known(catalogue, name) for name in wanted]:
        faults = installing.verify(pack, root)
        bad += bool(faults)
        output.notes.print(f"{pack.name}: {'; '.join(faults) or 'as it was pinned'}", markup=False)
    if bad:
        raise CommandFailed(
            f"{bad} of {len(wanted)} packs are not as they should be.",
            "modelyard models install NAME",
        )


@app.command("remove")
def remove(name: _Name, home: HomeOption = None) -> None:
    """Delete a pack. A model of it that is being served goes on until the platform is started again."""
    with _failures():
        if not installing.remove(name, _root(home)):
            raise CommandFailed(f"{name} is not installed.", "See: modelyard models list")
    output.notes.print(f"{name} is removed.", markup=False)


@app.command("add")
def add(  # one option for each thing that a pack has
    name: _Name,
    folder: Annotated[Path, typer.Argument(help="The model's folder; it is copied.")],
    engine: Annotated[str, typer.Option(help="What loads it: " + ", ".join(sorted(ENGINES)))],
    service: Annotated[str, typer.Option(help="Such as comprehend.")],
    task: Annotated[list[str], typer.Option(help="Such as sentiment; may be repeated.")],
    language: Annotated[
        list[str], typer.Option(help="Such as fr; may be repeated. '*' means all.")
    ],
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="For the engine.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Make a pack of a model of your own, and let it serve."""
    catalogue, root = _catalogue(home), _root(home)
    if not _NAME.fullmatch(name):
        raise CommandFailed(f"{name!r} is no name.", "Lower-case letters, digits and dashes.")
    if any(one.name == name for one in catalogue.builtins()):
        raise CommandFailed(f"{name} is a built-in pack.", "Choose another name.")
    if engine not in ENGINES:
        raise CommandFailed(
            f"There is no engine {engine!r}.", "One of: " + ", ".join(sorted(ENGINES))
        )
    pack = Pack(
        name=name,
        version="1",
        title=f"The user's {name}",
        engine=engine,
        licence=Licence(code="the user's", weights="the user's"),
        serves=tuple(Serves(service=service, task=one, languages=tuple(language)) for one in task),
        options=dict(_pair(one) for one in option or []),
    )
    with _failures():
        installing.add_folder(pack, folder, root)
    added = {choice_key(service, one, code): name for one in task for code in language}
    write_choices(root, {**catalogue.choices(), **added})
    output.notes.print(f"{name} serves {', '.join(sorted(added))}.", markup=False)


@app.command("use")
def use(
    service: Annotated[str, typer.Argument(help="Such as comprehend.")],
    task: Annotated[str, typer.Argument(help="Such as sentiment.")],
    language: Annotated[str, typer.Argument(help="Such as en; '*' means all.")],
    name: Annotated[str, typer.Argument(help="The pack; - goes back to the default.")],
    home: HomeOption = None,
) -> None:
    """Choose which pack serves a task in a language."""
    catalogue, root = _catalogue(home), _root(home)
    choices = catalogue.choices()
    place = choice_key(service, task, language)
    if name == "-":
        choices.pop(place, None)
    else:
        pack = _known(catalogue, name)
        if not any((one.service, one.task) == (service, task) for one in pack.serves):
            raise CommandFailed(f"{name} does not serve {service} {task}.", "modelyard models list")
        choices[place] = name
    write_choices(root, choices)
    output.notes.print(f"{place} is served by {choices.get(place, 'the default')}.", markup=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandFailed(f"--option {text!r} is not NAME=VALUE.")
    return name, value


def _failures() -> "_Failures":
    return _Failures()


class _Failures:
    """What an installer could not do, as a command says it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, installing.InstallFailed):
            raise CommandFailed(str(error)) from error


def _root(home: Path | None) -> Path:
    return Home(home or default_home()).packs


def _catalogue(home: Path | None) -> Catalogue:
    return Catalogue(_root(home))


def _known(catalogue: Catalogue, name: str) -> Pack:
    for pack in catalogue.packs():
        if pack.name == name:
            return pack
    raise CommandFailed(f"There is no pack {name!r}.", "See: modelyard models list")
