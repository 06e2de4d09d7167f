"""``InvokeEndpointAsync``: a request is kept, and answered with where its result will be. Other invocations never come here."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.services.members import EXECUTED, RECORDED, Members
from modelyard.store.async_queue import Queued, QueueFull
from modelyard.store.resources import Json, Key, ResourceStore

MEMBERS: Mapping[str, Members] = {
    "InvokeEndpointAsync": {
        "EndpointName": EXECUTED,
        "ContentType": EXECUTED,
        "Accept": EXECUTED,
        "CustomAttributes": RECORDED,
        "InferenceId": EXECUTED,
        "InputLocation": EXECUTED,
        "S3OutputPathExtension": EXECUTED,
        "Filename": EXECUTED,
        "RequestTTLSeconds": EXECUTED,
        "InvocationTimeoutSeconds": EXECUTED,
        "Body": EXECUTED,
    }
}
TTL_SECONDS, TIMEOUT_SECONDS = 21_600, 900
_INVOCABLE = ("InService", "Updating", "SystemUpdating", "RollingBack")


class Queue(Protocol):
    """``store.async_queue.AsyncQueue``."""

    def add(self, queued: Queued) -> None:
        """Blocks until it is on the disk. Raises ``QueueFull``."""


class AsyncInvocations:
    """``wake`` is called after each request that was kept."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        queue: Queue,
        clock: Clock,
        random: RandomSource,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._random = random
        self._wake = wake

    async def invoke_endpoint_async(
        self,
        call: Call,
        *,
        endpoint_name: str,
        content_type: str | None = None,
        accept: str | None = None,
        custom_attributes: str | None = None,
        inference_id: str | None = None,
        input_location: str | None = None,
        s3_output_path_extension: str | None = None,
        filename: str | None = None,
        request_ttl_seconds: int | None = None,
        invocation_timeout_seconds: int | None = None,
        body: bytes | None = None,
    ) -> Json:
        config = self._config(call, endpoint_name)
        if bool(input_location) == bool(body):
            raise _refused("Give the request's InputLocation (s3://…), or its Body, and not both.")
        if input_location and not input_location.startswith("s3://"):
            raise _refused(f"InputLocation has to be s3://bucket/key, not {input_location}.")
        request_id = self._random.hex(32)
        output, now = config["OutputConfig"], self._clock.now()
        topics = output.get("NotificationConfig") or {}
        folder = output["S3OutputPath"].rstrip("/")
        if s3_output_path_extension:
            folder = f"{folder}/{s3_output_path_extension.strip('/')}"
        failures = (output.get("S3FailurePath") or "").rstrip("/")
        queued = Queued(
            id=request_id,
            account=call.account,
            region=call.region,
            endpoint=endpoint_name,
            inference_id=inference_id or request_id,
            received_at=now,
            expires_at=now + (request_ttl_seconds or TTL_SECONDS),
            timeout_seconds=invocation_timeout_seconds or TIMEOUT_SECONDS,
            output_location=f"{folder}/{filename or f'{request_id}.out'}",
            failure_location=f"{failures}/{request_id}-error.out" if failures else "",
            input_location=input_location or "",
            body=body or b"",
            content_type=content_type or "",
            accept=accept or "",
            custom_attributes=custom_attributes or "",
            success_topic=topics.get("SuccessTopic", ""),
            error_topic=topics.get("ErrorTopic", ""),
            includes=tuple(topics.get("IncludeInferenceResponseIn") or ()),
        )
        try:
            await asyncio.to_thread(self._queue.add, queued)
        except QueueFull:
            text = "As many requests wait for this endpoint as may (async_queue); try again later."
            raise ServiceError("ServiceUnavailable", text, status=503) from None
        self._wake()
        answer = {"InferenceId": queued.inference_id, "OutputLocation": queued.output_location}
        return answer | (
            {"FailureLocation": queued.failure_location} if queued.failure_location else {}
        )

    def _config(self, call: Call, name: str) -> Json:
        key = Key(kind="endpoint", account=call.account, region=call.region, name=name)
        endpoint = self._store.get(key)
        if endpoint is None or endpoint.status.get("EndpointStatus") not in _INVOCABLE:
            raise _refused(f"Endpoint {name} of account {call.account} not found.")
        config: Json | None = endpoint.spec["config"].get("AsyncInferenceConfig")
        if not config:
            raise _refused(
                f"Endpoint {name} is not asynchronous: its endpoint config has no AsyncInferenceConfig."
            )
        return config


def _refused(text: str) -> ServiceError:
    return ServiceError("ValidationError", text)
