"""What a worker does: unpack, load, say that it is ready, and serve until it is told to stop.

A model whose script brings requirements is served by the Python of an environment of its own (``payload["python"]``).
"""

import gc
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.base.clock import SystemClock
from modelyard.domain.worker_report import LOADED_MODELS, TAKES_ARRAYS
from modelyard.frameworks.archive import ArtifactError
from modelyard.frameworks.model import LoadError, Model
from modelyard.frameworks.service import Service
from modelyard.worker.batcher import Bounds
from modelyard.worker.loading import load_model, load_shelved
from modelyard.worker.multi_model import (
    MultiModelPredictor,
    budget_of,
    load_from_shelf,
    resident_bytes,
)
from modelyard.worker.predictor import Predictor
from modelyard.worker.scripted import ScriptedPredictor
from modelyard.worker.server import Predicts, WorkerServer
from modelyard.worker.started import run_started

BACKLOG = 128
FRAMEWORKS = ("onnxruntime", "sklearn", "skops.io", "joblib", "xgboost", "lightgbm")
"""Libraries that are slow to import: the host learns which ones its next workers will need."""
FAILED = 1


def main(payload: dict[str, Any], address: str, report: Callable[..., None]) -> int:
    """Run one worker; the exit status. Called in the main thread of a freshly forked process."""
    payload.setdefault("is_isolated", address.startswith("fd:"))
    if payload.get("python"):
        return run_started(payload["python"], payload, _listen(address), report)
    begin = time.perf_counter()
    try:
        served = _serve_many(payload, report) if payload.get("multi_model") else _serve_one(payload)
    except (ArtifactError, LoadError) as error:
        report("failed", str(error))
        return FAILED
    except MemoryError:
        report("failed", "The model does not fit into the instance's memory.")
        return FAILED
    except Exception as error:  # noqa: BLE001 - a model's own code may raise anything while it is loaded
        traceback.print_exc()
        report("failed", f"The model raised while it was loaded: {type(error).__name__}: {error}")
        return FAILED
    limits = payload["limits"]
    bounds = Bounds(
        worker_id=payload.get("id", ""),
        payload_bytes=limits["payload_bytes"],
        queue=payload["queue"],
        max_batch=served.max_batch,
    )
    clock = SystemClock()
    with _listen(address) as listener:
        server = WorkerServer(listener, served.predictor, bounds=bounds, now=clock.monotonic)
        signal.signal(signal.SIGTERM, lambda *_: server.drain())
        # What loading left behind is garbage now or will never be: requests are not interrupted to look at it.
        gc.collect()
        gc.freeze()
        if not served.leaves_garbage:
            gc.disable()
        loaded = {LOADED_MODELS: 0} if payload.get("multi_model") else {}
        progress = {**_frameworks(), TAKES_ARRAYS: served.array_type, **loaded}
        report("ready", progress=progress)
        print(f"ready in {time.perf_counter() - begin:.3f} s", flush=True)  # noqa: T201 - the container's log
        server.serve()
        server.close()
    return 0


def _frameworks() -> dict[str, list[str]]:
    return {"frameworks": [name for name in FRAMEWORKS if name in sys.modules]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What answers, in batches of so many requests. ``leaves_garbage``: large things in cycles."""

    predictor: Predicts
    max_batch: int
    leaves_garbage: bool
    array_type: str = ""


def _serve_one(payload: dict[str, Any]) -> _Served:
    model = load_model(payload)
    return _Served(
        predictor=_predictor(model, payload["limits"]),
        max_batch=_max_batch(model, payload["max_batch"]),
        leaves_garbage=isinstance(model, Service),
        array_type=_array_type(model),
    )


def _serve_many(payload: dict[str, Any], report: Callable[..., None]) -> _Served:
    """The models of a shelf."""

    def tell(loaded: int) -> None:
        report("ready", progress={**_frameworks(), TAKES_ARRAYS: "", LOADED_MODELS: loaded})

    def unpack(name: str, path: Path, scratch: Path) -> Predicts:
        model = load_shelved(payload, name, path, scratch)
        return _predictor(model, payload["limits"])

    predictor = MultiModelPredictor(
        Path(payload["model"]["path"]),
        lambda name, path: load_from_shelf(name, path, unpack=unpack),
        budget_bytes=budget_of(payload),
        keeps=payload["multi_model"]["keeps"],
        resident=resident_bytes,
        now=time.monotonic,
        tell=tell,
    )
    return _Served(predictor=predictor, max_batch=payload["max_batch"], leaves_garbage=True)


def _predictor(model: Model | Service, limits: dict[str, Any]) -> Predicts:
    seconds, answer_bytes = limits["invocation_seconds"], limits["payload_bytes"]
    if isinstance(model, Service):
        return ScriptedPredictor(model, seconds=seconds, answer_bytes=answer_bytes)
    return Predictor(model, seconds=seconds, answer_bytes=answer_bytes)


def _max_batch(model: Model | Service, most: int) -> int:
    """Requests of one predict."""
    if isinstance(model, Service):
        return min(model.max_batch, most)
    return most if model.row_wise else 1


def _array_type(model: Model | Service) -> str:
    """See ``worker_report.TAKES_ARRAYS``."""
    if isinstance(model, Service) or not model.row_wise:
        return ""
    return "<f4" if getattr(model, "is_single_precision", False) else "<f8"


def _listen(address: str) -> socket.socket:
    """At a path, or (``fd:7``) what the keeper of an isolated worker has bound already."""
    if address.startswith("fd:"):
        listener = socket.socket(fileno=int(address.removeprefix("fd:")))
        listener.setblocking(False)
        return listener
    path = Path(address.removeprefix("unix:"))
    path.unlink(missing_ok=True)  # Of an earlier life of this worker.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
