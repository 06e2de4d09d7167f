"""Options that several commands share, spelled once."""

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The platform's home.", envvar="MODELYARD_HOME", show_default="~/.modelyard"
    ),
]
RegionOption = Annotated[
    str | None, typer.Option("--region", help="AWS region.", show_default="the platform's")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
