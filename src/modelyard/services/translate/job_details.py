"""What became of each file of a batch translation in one language, as AWS writes it beside the output. Blocking, for threads."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.services.job_objects import Objects, write_object
from modelyard.services.translate.translator import Applied
from modelyard.store.resources import Json


class Details:
    """Kept on the disk until it is written: a job may have a million files."""

    def __init__(self, scratch: Path, target: str) -> None:
        self._scratch = scratch
        self._target = target
        self._entries = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by ``close``
        self._characters = 0
        self._faults = {"client": 0, "server": 0}

    def translated(
        self, name: str, new: str, characters: int, applied: Sequence[Applied], source: str
    ) -> None:
        """``source`` is the language that was found where none was named."""
        self._characters += characters
        met = [one for one in applied if one.found]
        terms = [
            {
                "name": one.name,
                "terms": [
                    {"sourceText": term["SourceText"], "targetText": term["TargetText"]}
                    for term in one.shown()["Terms"]
                ],
            }
            for one in met
        ]
        entry: Json = {"sourceFile": name, "targetFile": new}
        if source:
            entry["sourceLanguage"] = source
        entry["auxiliaryData"] = {"appliedTerminologies": terms} if terms else {}
        self._add(entry)

    def failed(self, name: str, error: ServiceError) -> None:
        """No output, and why."""
        self._faults[error.fault] += 1
        fault = {"errorCode": error.code, "errorMessage": error.message}
        self._add({"sourceFile": name, "auxiliaryData": {"error": fault}})

    def _add(self, entry: Json) -> None:
        if self._entries.tell():
            self._entries.write(b",")
        self._entries.write(msgspec.json.encode(entry))

    def finish(self, objects: Objects, spec: Json, folder: str) -> None:
        """Write the object, whole. Raises ``JobFailed``."""
        head = {
            "sourceLanguageCode": spec["SourceLanguageCode"],
            "targetLanguageCode": self._target,
            "charactersTranslated": str(self._characters),
            "documentCountWithCustomerError": str(self._faults["client"]),
            "documentCountWithServerError": str(self._faults["server"]),
            "inputDataPrefix": spec["InputDataConfig"]["S3Uri"],
            "outputDataPrefix": folder,
        }
        with tempfile.TemporaryFile(dir=self._scratch) as whole:
            whole.write(msgspec.json.encode(head)[:-1] + b',"details":[')
            self._entries.seek(0)
            shutil.copyfileobj(self._entries, whole)
            whole.write(b"]}")
            whole.seek(0)
            uri = f"{folder}details/{self._target}.auxiliary-translation-details.json"
            write_object(objects, uri, whole, "application/json")

    def close(self) -> None:
        """Let go of the entries."""
        self._entries.close()
