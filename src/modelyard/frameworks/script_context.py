"""The ``context`` that a script's functions may take: as much of multi-model-server's as scripts use.

Source: the multi-model-server's custom service API, which AWS's inference toolkit hands to handlers.
"""

from collections.abc import Mapping
from typing import Any

from modelyard.frameworks.service import Ask

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class _Headers(dict[str, str]):
    """Looked up by any spelling of a name."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._lower = {name.lower(): value for name, value in headers.items()}

    def get(self, name: str, default: Any = None) -> Any:
        return self._lower.get(name.lower(), default)


class RequestProcessor:
    """``context.request_processor[0]``."""

    def __init__(self, headers: _Headers) -> None:
        self._headers = headers

    def get_request_properties(self) -> dict[str, str]:
        return self._headers

    def get_request_property(self, name: str) -> str | None:
        value: str | None = self._headers.get(name)
        return value


class Metrics:
    """``context.metrics``: what a script measures goes to its log."""

    def add_counter(self, name: str, value: float, idx: object = None, **more: Any) -> None:
        self.add_metric(name, value, "count")

    def add_time(
        self, name: str, value: float, idx: object = None, unit: str = "ms", **more: Any
    ) -> None:
        self.add_metric(name, value, unit)

    def add_size(
        self, name: str, value: float, idx: object = None, unit: str = "MB", **more: Any
    ) -> None:
        self.add_metric(name, value, unit)

    def add_percent(self, name: str, value: float, idx: object = None, **more: Any) -> None:
        self.add_metric(name, value, "percent")

    def add_metric(self, name: str, value: float, unit: str = "", *rest: Any, **more: Any) -> None:
        print(f"[METRICS] {name}: {value} {unit}", flush=True)  # noqa: T201 - the container's log

    def add_error(self, name: str, value: str, **more: Any) -> None:
        print(f"[METRICS] {name}: {value}", flush=True)  # noqa: T201 - the container's log


class Context:
    """One request's. ``idx`` counts requests of a batch in AWS's servers; here each has a context of its own."""

    def __init__(self, ask: Ask, *, model_dir: str, max_batch: int) -> None:
        headers = {
            "Content-Type": ask.content_type,
            "Accept": ask.accept,
            CUSTOM_ATTRIBUTES: ask.custom_attributes,
        }
        self._headers = _Headers({name: value for name, value in headers.items() if value})
        self.model_name = "model"
        self.manifest: dict[str, Any] = {}
        self.system_properties = {
            "model_dir": model_dir,
            "gpu_id": None,
            "batch_size": max_batch,
            "server_name": "Modelyard",
        }
        self.request_processor = [RequestProcessor(self._headers)]
        self.metrics = Metrics()
        self.content_type = ""
        self.status = 200
        self.custom_attributes = ""

    def get_request_header(self, idx: int, key: str) -> str | None:
        value: str | None = self._headers.get(key)
        return value

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        return self._headers

    def get_response_content_type(self, idx: int = 0) -> str:
        return self.content_type

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_type = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.status = code

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """AWS drops all headers of a container but these two."""
        if key.lower() == "content-type":
            self.content_type = value
        elif key.lower() == CUSTOM_ATTRIBUTES.lower():
            self.custom_attributes = value
