"""What a worker needs before it may start, made outside of its sandbox: archives, and an environment for its packages."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.base.settings import Home
from modelyard.frameworks import mlflow
from modelyard.frameworks.archive import ArtifactError
from modelyard.frameworks.model import LoadError
from modelyard.frameworks.script import find_program
from modelyard.runtimes.installing import run_install
from modelyard.runtimes.isolation import Isolation
from modelyard.runtimes.runtime import Caps
from modelyard.runtimes.sandbox import View
from modelyard.worker.environments import (
    EnvironmentFailed,
    Environments,
    Wanted,
    wanted,
    wanted_by,
)
from modelyard.worker.loading import CODE_PLACE, unpack

Report = Callable[..., None]
NO_NETWORK = (
    "\nEnableNetworkIsolation leaves pip without a network, too: put wheels beside the file, and --no-index and "
    "--find-links into it."
)


class Preparation:
    """For workers of built-in runtimes."""

    def __init__(self, home: Home, isolation: Isolation) -> None:
        self._home = home
        self._isolation = isolation

    def __call__(self, payload: dict[str, Any], report: Report) -> View:
        """Also says in the payload which Python serves it. Gives up by ``SystemExit``, with the reason reported."""
        try:
            model, code = unpack(payload, "model"), unpack(payload, "code")
            binds = [(folder, folder) for folder in (model, code) if folder is not None]
            if code is not None:
                binds.append((code, CODE_PLACE))
            needed = _needed(payload, model, code)
            if needed is not None:
                python = self._python(needed, payload, binds)
                payload["python"] = str(python)
                environment = python.parent.parent
                binds.append((environment, environment))
        except (ArtifactError, EnvironmentFailed) as error:
            report("failed", str(error))
            raise SystemExit(1) from error
        return View(model=model, binds=tuple(binds))

    def _python(
        self, needed: Wanted, payload: dict[str, Any], binds: list[tuple[Path, Path]]
    ) -> Path:
        isolated = bool(payload.get("network_isolation"))
        refusal = self._isolation.refusal(needs_network_isolation=isolated)
        if refusal:
            raise EnvironmentFailed(refusal)

        def run(install: Callable[[], int], writable: Path, seconds: float) -> int:
            view = View(
                binds=tuple(binds),
                writable=((writable, writable),),
                has_network=not isolated,
                is_program=True,
            )
            return run_install(
                install, ground=self._isolation.ground, view=view, caps=Caps(), seconds=seconds
            )

        try:
            return Environments(self._home.environments, run).python(needed)
        except EnvironmentFailed as error:
            raise EnvironmentFailed(f"{error}{NO_NETWORK if isolated else ''}") from error


def _needed(payload: dict[str, Any], model: Path | None, code: Path | None) -> Wanted | None:
    """What the script's requirements ask for, or an MLflow model's where mlflow is not installed."""
    folders = [folder for folder in (code, model / "code" if model else None) if folder is not None]
    key = "/".join((payload.get(one) or {}).get("key", "") for one in ("model", "code"))
    if model is None and code is None:
        return None
    with suppress(LoadError):  # It is said by the worker, which looks again.
        if find_program(model or folders[0], code, payload["environment"]) is not None:
            return wanted(folders, artifact_key=key)
    if model is not None and not mlflow.is_installed():
        for mark in sorted(model.glob(mlflow.MARK)) or sorted(model.glob(f"*/{mlflow.MARK}")):
            path = mark.with_name("requirements.txt")
            if path.is_file():
                return wanted_by(path, artifact_key=key, name="the MLflow model's requirements.txt")
    return None
