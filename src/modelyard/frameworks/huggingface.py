"""Hugging Face folders: ``config.json`` with weights in safetensors and a tokenizer, served by a ``transformers`` pipeline.

Requests and answers are those of AWS's Hugging Face images: ``{"inputs": "…" | ["…"], "parameters": {…}}`` gives what the
pipeline gives, a list of objects. CSV has a header with ``inputs``. The task is ``HF_TASK``, or what the architecture says.
Weights in pickles are refused, and no code of the folder's is run.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.frameworks.model import FrameworkMissing, LoadError
from modelyard.frameworks.service import Ask, Refusal, Reply

MARK = "config.json"
TASK = "HF_TASK"
JSON, CSV = "application/json", "text/csv"
_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
}


def is_folder(config: Path) -> bool:
    """Whether a ``config.json`` is a transformer's, with its weights beside it."""
    return any(config.parent.glob("*.safetensors"))


def load(path: Path, *, environment: Mapping[str, str], threads: int) -> "PipelineService":
    """Raises ``LoadError`` for a folder that transformers refuses."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise FrameworkMissing(error.name or "transformers", "transformers") from None
    torch.set_num_threads(threads)
    task = environment.get(TASK, "") or _task_of(path)
    try:
        pipeline = transformers.pipeline(
            task,
            model=str(path.parent),
            tokenizer=str(path.parent),
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except MemoryError:
        raise
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LoadError(
            f"transformers cannot load the folder of {path.name} for {task}: {text}"
        ) from error
    return PipelineService(pipeline)


def _task_of(config: Path) -> str:
    try:
        architectures = json.loads(config.read_bytes()).get("architectures") or []
    except (ValueError, AttributeError) as error:
        raise LoadError(f"{config.name} is no model's configuration: {error}") from error
    for name in architectures:
        for ending, task in _TASKS.items():
            if str(name).endswith(ending):
                return task
    raise LoadError(
        f"The architecture {', '.join(map(str, architectures)) or 'none'} does not say what the model does: set {TASK}."
    )


class PipelineService:
    """A pipeline. One request at a time: a request brings its own list of inputs."""

    max_batch = 1
    seconds = 0.0

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def answer(self, ask: Ask) -> Reply:
        document = _read(ask)
        inputs = document.get("inputs", document)
        parameters = document.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise Refusal('"parameters" has to be an object.')
        if not inputs:
            raise Refusal('The request has no "inputs".')
        found = self._pipeline(inputs, **parameters)
        return _write(found, ask.accept)

    def answer_together(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        raise NotImplementedError("max_batch is 1")


def _read(ask: Ask) -> dict[str, Any]:
    kind = (ask.content_type or JSON).partition(";")[0].strip().lower()
    try:
        if kind == JSON:
            document = json.loads(ask.body)
            if isinstance(document, str | list):
                return {"inputs": document}
            if isinstance(document, dict):
                return document
            raise Refusal('The body has to be an object with "inputs".')
        if kind == CSV:
            rows = list(csv.DictReader(io.StringIO(ask.body.decode())))
            if not rows:
                raise Refusal("The CSV has no rows; its first line is a header.")
            return {"inputs": [row["inputs"] for row in rows] if "inputs" in rows[0] else rows}
    except (ValueError, csv.Error) as error:
        raise Refusal(f"The body cannot be read as {kind}: {error}") from error
    raise Refusal(f"Content type {kind[:100]!r} is not supported; use {JSON} or {CSV}.", status=415)


def _write(found: Any, accept: str) -> Reply:
    for item in (accept or JSON).split(","):
        kind = item.partition(";")[0].strip().lower()
        if kind in (JSON, "*/*", "application/*"):
            text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=_plain)
            return Reply(body=text.encode(), content_type=JSON)
        if kind == CSV:
            return Reply(body=_to_csv(found), content_type=CSV)
    raise Refusal(f"Accept {accept[:200]!r} is not supported; use {JSON} or {CSV}.", status=406)


def _to_csv(found: Any) -> bytes:
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(row, dict) for row in rows):
        raise Refusal("These answers do not fit into CSV; accept application/json.", status=406)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
