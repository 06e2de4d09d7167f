"""What a worker has done by the time that it says it is ready."""

import json
import subprocess
import sys
from pathlib import Path

from modelyard.testing import models

PROGRAM = """
import gc, json, sys
from modelyard.worker.main import main

def report(state, reason="", progress=None):
    print(json.dumps([state, gc.isenabled(), gc.get_freeze_count() > 10_000, gc.get_count()[2]]))
    raise SystemExit(0)

main(json.loads(sys.argv[1]), sys.argv[2], report)
"""


def test_garbage_is_collected_before_the_first_request_and_never_during_one(tmp_path: Path) -> None:
    """A model of a built-in loader leaves none in cycles: collections would only hold requests up."""
    models.doubling_model(tmp_path / "model.onnx")
    payload = {
        "id": "w", "image": "onnx", "environment": {}, "max_batch": 8, "queue": 10,
        "artifacts": str(tmp_path / "artifacts"),
        "model": {"path": str(tmp_path / "model.onnx"), "key": "k", "name": "model.onnx"},
        "limits": {"payload_bytes": 1000, "artifact_bytes": 100_000, "artifact_files": 10,
                   "invocation_seconds": 60},
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(payload), f"unix:{tmp_path / 'w.sock'}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert json.loads(ended.stdout.splitlines()[0]) == ["ready", False, True, 0]
