"""A job that builds a bot's locale: what is learned of its definition goes into the place of its model, whole or not at all."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.ai.engine import EngineError
from modelyard.ai.lex.model import FILE
from modelyard.ai.lex.training import Unlearnable, train
from modelyard.jobs.model_archive import put_archive

Report = Callable[..., None]


def run_bot_training(payload: dict[str, Any], report: Report) -> int:
    """The exit code. What cannot be built is reported with its reasons, each a sentence."""
    report("running")
    target = Path(payload["target"])
    try:
        if not target.exists():  # It is named by what is learned: it is the same model.
            _build(payload["definition"], target)
    except Unlearnable as error:
        report("failed", str(error), {"reasons": error.reasons})
        return 0
    except (EngineError, OSError) as error:
        report("failed", str(error), {"reasons": [str(error)]})
        return 0
    report("succeeded")
    return 0


def _build(definition: dict[str, Any], target: Path) -> None:
    model = train(definition, told=_say)
    put_archive(target, lambda files: model.save(files / FILE))


def _say(text: str) -> None:
    """A line of the job's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
