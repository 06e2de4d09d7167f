"""From a worker's payload to something that answers: an artifact's script if it has one, else the model that a loader finds."""

from pathlib import Path
from typing import Any

from modelyard.frameworks import formats
from modelyard.frameworks.archive import ArtifactLimits, unpack_once
from modelyard.frameworks.model import LoadError, Model
from modelyard.frameworks.script import Source, find_program, load_script, prepare_process
from modelyard.frameworks.script_defaults import defaults_of
from modelyard.frameworks.service import Service
from modelyard.worker import engines

MODEL_PLACE = Path("/opt/ml/model")
CODE_PLACE = Path("/opt/ml/code")
"""Where an isolated worker sees its artifact and the archive of its script, as in AWS's containers."""
UNSCRIPTED = ("tensorflow",)
"""Its images have another contract for scripts, which is not executed."""


def load_model(payload: dict[str, Any]) -> Model | Service:
    """Raises ``ArtifactError`` or ``LoadError`` with the reason."""
    environment, runtime = payload["environment"], payload["image"]
    code = unpack(payload, "code")
    folder = unpack(payload, "model") or code
    if runtime == engines.RUNTIME:
        return engines.load_service(folder, environment)
    if folder is None:
        raise LoadError("The container has no ModelDataUrl: there is no model to load.")

    def built_in() -> Model | Service:
        return formats.load(
            folder,
            runtime=runtime,
            environment=environment,
            trusted=frozenset(payload.get("trusted_imports", ())),
        )

    source = find_program(folder, code, environment)
    if source is None:
        return built_in()
    if runtime in UNSCRIPTED:
        raise LoadError(
            f"Modelyard does not run scripts of {runtime} images; use an image of PyTorch, scikit-learn or modelyard/python "
            "with model_fn and predict_fn."
        )
    place = MODEL_PLACE if payload.get("is_isolated") and folder != code else folder
    prepare_process(environment, place)
    return load_script(
        _seen(source, folder, place),
        defaults=defaults_of(runtime, built_in),
        environment=environment,
        model_dir=place,
    )


def load_shelved(payload: dict[str, Any], name: str, path: Path, scratch: Path) -> Model | Service:
    """One of many models; ``scratch`` is its own. Raises ``ArtifactError`` or ``LoadError`` with the reason."""
    environment, limits = payload["environment"], payload["limits"]
    folder = unpack_once(
        path,
        name=name.rpartition("/")[2],
        key="model",
        artifacts=scratch,
        limits=ArtifactLimits(total_bytes=limits["artifact_bytes"], files=limits["artifact_files"]),
    )
    if find_program(folder, None, environment) is not None:
        raise LoadError("Scripts are not executed on multi-model endpoints; give it an endpoint.")
    return formats.load(
        folder,
        runtime=payload["image"],
        environment=environment,
        trusted=frozenset(payload.get("trusted_imports", ())),
    )


def _seen(source: Source, folder: Path, place: Path) -> Source:
    """The same script by the path that a container has: tracebacks and ``__file__`` show it."""
    if not source.program.is_relative_to(folder):
        return source
    return Source(
        program=place / source.program.relative_to(folder),
        folders=tuple(place / one.relative_to(folder) for one in source.folders),
    )


def unpack(payload: dict[str, Any], which: str) -> Path | None:
    """The folder of the ``model`` or ``code`` archive, None where there is none. Raises ``ArtifactError``."""
    archive, limits = payload.get(which) or {}, payload["limits"]
    if not archive.get("path"):
        return None
    return unpack_once(
        Path(archive["path"]),
        name=archive["name"],
        key=archive["key"],
        artifacts=Path(payload["artifacts"]),
        limits=ArtifactLimits(total_bytes=limits["artifact_bytes"], files=limits["artifact_files"]),
    )
