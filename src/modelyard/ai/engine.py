"""What an engine is, and the one table of those that there are.

An engine is code and weights that answer questions of one or several tasks. A worker loads it by name from the folder of its
pack; nothing of it is ever imported in control.
"""

import importlib
import importlib.util
import site
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from modelyard.ai.questions import Finding, Item

ENGINES: Mapping[str, str] = {
    "apertium": "modelyard.ai.apertium",
    "classifier": "modelyard.ai.classifier",
    "ctranslate2": "modelyard.ai.ctranslate",
    "firefox": "modelyard.ai.firefox",
    "language": "modelyard.ai.language",
    "lex": "modelyard.ai.lex.engine",
    "pii": "modelyard.ai.pii",
    "recogniser": "modelyard.ai.recogniser",
    "sentiment": "modelyard.ai.sentiment",
    "spacy": "modelyard.ai.spacy_pipeline",
    "topics": "modelyard.ai.topics",
}
"""Name to the module that has ``load(folder, options)``."""

LIBRARIES = "site"
"""The folder of a pack that holds the libraries that it brought along."""


class EngineError(Exception):
    """The engine cannot be loaded; the text is the endpoint's ``FailureReason``."""


class LibraryMissing(EngineError):
    """Say the one command that mends it."""

    def __init__(self, library: str, command: str) -> None:
        super().__init__(
            f"This model needs {library}, which is not installed: {command}, then modelyard down and modelyard up."
        )


class Engine(Protocol):
    """Loaded in a worker, used by one thread."""

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """One finding for each item, in order. Raises for what goes wrong with all of them."""


def load_engine(name: str, folder: Path | None, options: Mapping[str, str]) -> Engine:
    """Load an engine from the folder of its pack, None for one without files. Raises ``EngineError``."""
    module = ENGINES.get(name)
    if module is None:
        raise EngineError(f"There is no engine {name!r}: there are {', '.join(sorted(ENGINES))}.")
    if folder is not None and (folder / LIBRARIES).is_dir():
        # Behind the platform's own packages: what both have is the platform's.
        site.addsitedir(str(folder / LIBRARIES))
    load = cast(
        "Callable[[Path | None, Mapping[str, str]], Engine]", importlib.import_module(module).load
    )
    return load(folder, options)


def required_folder(folder: Path | None) -> Path:
    """For engines that cannot do without files. Raises ``EngineError``."""
    if folder is None:
        raise EngineError("This engine needs the files of a pack, and there are none.")
    return folder
