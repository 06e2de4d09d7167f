"""What asynchronous invocations are built of: their endpoints' replicas, S3 by URI, topics that are files or webhooks."""

import http.client
import json
import os
import sqlite3
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Limits
from modelyard.domain.async_messages import moment
from modelyard.domain.chain import Final
from modelyard.server.replicas import Replicas
from modelyard.server.timed_answers import OPENER
from modelyard.store.async_queue import Queued
from modelyard.store.object_info import parse_s3_uri
from modelyard.transport.frames import RequestMeta

WEBHOOK_SECONDS = 5.0
"""For each step: to connect, to send, and to get the head of the answer."""


class AsyncDataPlane:
    """``control.async_invocations.DataPlane`` over UNIX sockets."""

    def __init__(self, *, home: Home, limits: Limits, clock: Clock, random: RandomSource) -> None:
        self._replicas = Replicas(
            home=home,
            limits=limits,
            clock=clock,
            random=random,
            own=lambda endpoint: endpoint.asynchronous,
        )
        self.run = self._replicas.run

    def instances(self, account: str, region: str, endpoint: str) -> int:
        """Replicas in the routing table."""
        route = self._replicas.find(account, region, endpoint)
        return sum(len(variant.replicas) for variant in route.variants) if route else 0

    async def ask(self, queued: Queued, body: bytes) -> tuple[str, Final]:
        """The variant, and what it answered. Raises ``ServiceError``."""
        route = self._replicas.find(queued.account, queued.region, queued.endpoint)
        if route is None:
            raise ServiceError("ServiceUnavailable", "The endpoint has no replicas.", status=503)
        meta = RequestMeta(
            content_type=queued.content_type,
            accept=queued.accept,
            custom_attributes=queued.custom_attributes,
        )
        seconds = queued.timeout_seconds
        variant, outcome = await self._replicas.ask(route, meta=meta, body=body, seconds=seconds)
        if isinstance(outcome, ServiceError):
            raise outcome
        return variant, outcome


class UriObjects:
    """An object store by URI; ``limit`` bounds what is read."""

    def __init__(self, objects: Any, *, limit: int) -> None:
        self._objects = objects
        self._limit = limit

    def read(self, uri: str) -> bytes:
        """Raises ``OSError`` or ``ValueError``."""
        bucket, key = parse_s3_uri(uri)
        try:
            found = self._objects.open_object(bucket, key)
        except sqlite3.Error as error:
            raise OSError(f"the object store does not answer: {error}") from error
        if found is None:
            raise FileNotFoundError("there is no such object")
        _, file = found
        with file:
            data: bytes = file.read(self._limit + 1)
        if len(data) > self._limit:
            raise ValueError(f"it has more than {self._limit} bytes")
        return data

    def write(self, uri: str, data: bytes, content_type: str) -> None:
        """Whole or not at all. Raises ``OSError`` or ``ValueError``."""
        bucket, key = parse_s3_uri(uri)
        try:
            with self._objects.writer(bucket, key, content_type=content_type) as writer:
                writer.write(data)
                writer.commit()
        except sqlite3.Error as error:
            raise OSError(f"the object store does not answer: {error}") from error


class SnsTopics:
    """Messages in SNS's envelope, to the URL that a topic's ARN is mapped to, else to a file for each."""

    def __init__(self, folder: Path, webhooks: Mapping[str, str]) -> None:
        self._folder = folder
        self._webhooks = webhooks

    def publish(self, topic: str, message_id: str, document: dict[str, Any], at: float) -> None:
        """Again with the same id, it is the same message. Raises ``OSError``."""
        envelope = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": topic,
            "Message": json.dumps(document),
            "Timestamp": moment(at),
        }
        data = json.dumps(envelope).encode()
        url = self._webhooks.get(topic)
        if url is None:
            self._save(topic, message_id, data)
            return
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "x-amz-sns-message-type": "Notification",
            "x-amz-sns-message-id": message_id,
            "x-amz-sns-topic-arn": topic,
        }
        request = urllib.request.Request(url, data=data, headers=headers, method="POST")  # noqa: S310
        try:
            with OPENER.open(request, timeout=WEBHOOK_SECONDS):
                return
        except http.client.HTTPException as error:
            raise OSError(f"its answer is not HTTP: {error}") from error

    def _save(self, topic: str, message_id: str, data: bytes) -> None:
        *_, region, account, name = topic.split(":")
        folder = self._folder / account / region / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{message_id}"
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / f"{message_id}.json")
