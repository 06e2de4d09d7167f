"""What asynchronous invocations are built of: a dispatcher for their endpoints, S3 by URI, topics that are files or webhooks."""

import asyncio
import json
import os
import sqlite3
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Limits
from modelyard.domain.async_messages import moment
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, RoutingTable
from modelyard.domain.routing import choose_variant
from modelyard.gateway.dispatcher import Dispatcher, Invocation
from modelyard.store.async_queue import Queued
from modelyard.store.object_info import parse_s3_uri
from modelyard.store.published import Published
from modelyard.transport.channel import Channel, Listener
from modelyard.transport.frames import RequestMeta

TICK_SECONDS = 0.1
FRAME_MARGIN = 1 << 20
WEBHOOK_SECONDS = 5.0


class AsyncDataPlane:
    """The gateway's dispatcher once more, for the asynchronous endpoints of the routing table."""

    def __init__(self, *, home: Home, limits: Limits, clock: Clock, random: RandomSource) -> None:
        self._published: Published[RoutingTable] = Published(
            home.run,
            "routes",
            decode=lambda value: msgspec.convert(value, RoutingTable),
            empty=RoutingTable(),
        )
        self._table: RoutingTable | None = None
        self._endpoints: dict[tuple[str, str, str], EndpointRoute] = {}
        self._clock = clock
        self._random = random
        self._frame_limit = limits.payload_bytes + FRAME_MARGIN
        self._dispatcher = Dispatcher(
            channel=self._channel,
            now=clock.monotonic,
            queue_limit=limits.replica_queue,
            wait_seconds=limits.replica_wait_seconds,
        )

    def _channel(self, address: str, listener: Listener) -> Channel:
        return Channel(address, listener, frame_limit=self._frame_limit)

    def _refresh(self) -> None:
        table = self._published.current()
        if table is not self._table:
            self._table = table
            own = tuple(one for one in table.endpoints if one.asynchronous)
            self._endpoints = {(one.account, one.region, one.name): one for one in own}
            self._dispatcher.update(own)

    def instances(self, account: str, region: str, endpoint: str) -> int:
        """Replicas in the routing table."""
        self._refresh()
        route = self._endpoints.get((account, region, endpoint))
        return sum(len(variant.replicas) for variant in route.variants) if route else 0

    async def ask(self, queued: Queued, body: bytes) -> tuple[str, Final]:
        """The variant, and what it answered. Raises ``ServiceError``."""
        self._refresh()
        place = (queued.account, queued.region, queued.endpoint)
        route = self._endpoints.get(place)
        if route is None:
            raise ServiceError("ServiceUnavailable", "The endpoint has no replicas.", status=503)
        variant = choose_variant(route, target="", draw=self._random.uniform())
        answered: asyncio.Future[Final | ServiceError] = asyncio.get_running_loop().create_future()

        def finish(outcome: Final | ServiceError) -> None:
            if not answered.done():
                answered.set_result(outcome)

        invocation = Invocation(
            body=body,
            meta=RequestMeta(
                content_type=queued.content_type,
                accept=queued.accept,
                custom_attributes=queued.custom_attributes,
            ),
            deadline=self._clock.monotonic() + queued.timeout_seconds,
            finish=finish,
        )
        self._dispatcher.submit((*place, variant.name, variant.fleet), invocation)
        try:
            outcome = await answered
        except asyncio.CancelledError:
            self._dispatcher.cancel(invocation)
            raise
        if isinstance(outcome, ServiceError):
            raise outcome
        return variant.name, outcome

    async def run(self) -> None:
        """End what is past its deadline, for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._refresh()
            self._dispatcher.tick()


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
            raise ValueError(f"it has more than {self._limit} bytes (payload_bytes)")
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
        with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS):  # noqa: S310
            return

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
