"""The message that tells of an asynchronous invocation's end, in the form of SageMaker's. Pure.

Source: hosting.md, section 6; the failure message's form is not documented by AWS.
"""

import base64
from datetime import UTC, datetime
from typing import Any, Protocol

INCLUDED_BYTES = 128 * 1024
"""A larger answer is not part of its message."""


class Asked(Protocol):
    """``store.async_queue.Queued``."""

    @property
    def region(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def inference_id(self) -> str: ...
    @property
    def received_at(self) -> float: ...
    @property
    def content_type(self) -> str: ...
    @property
    def input_location(self) -> str: ...
    @property
    def output_location(self) -> str: ...
    @property
    def failure_location(self) -> str: ...
    @property
    def includes(self) -> tuple[str, ...]: ...


class Ended(Protocol):
    """``store.async_queue.Outcome``."""

    @property
    def is_success(self) -> bool: ...
    @property
    def body(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def reason(self) -> str: ...


def message(asked: Asked, ended: Ended) -> dict[str, Any]:
    """What a topic's subscribers get."""
    document: dict[str, Any] = {
        "awsRegion": asked.region,
        "eventTime": moment(ended.at),
        "receivedTime": moment(asked.received_at),
        "invocationStatus": "Completed" if ended.is_success else "Failed",
        "requestParameters": {
            "contentType": asked.content_type,
            "endpointName": asked.endpoint,
            "inputLocation": asked.input_location,
        },
        "inferenceId": asked.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    wanted = "SUCCESS" if ended.is_success else "ERROR"
    response: dict[str, Any] = {"contentType": ended.content_type}
    place = asked.output_location if ended.is_success else asked.failure_location
    if place:
        response["outputLocation" if ended.is_success else "failureLocation"] = place
    if f"{wanted}_NOTIFICATION_TOPIC" in asked.includes and len(ended.body) <= INCLUDED_BYTES:
        response["body"] = {"content": base64.b64encode(ended.body).decode(), "encoding": "BASE64"}
    document["responseParameters"] = response
    if not ended.is_success:
        document["failureReason"] = ended.reason
    return document


def moment(at: float) -> str:
    """``2026-01-31T12:00:00.000Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
