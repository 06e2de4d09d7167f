"""The built-in models behind the AI services, hosted as any other model: endpoints of a reserved account, made on first use.

No user has that account, so no ``List*`` shows them and nobody else can ask them; the reconciler of endpoints starts, restarts
and rolls them out like all others. An installed pack of other content is another model: the endpoint is updated to it while it
serves.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from modelyard.ai.catalogue import Catalogue, Mark, NotServed, PackMissing, Ready
from modelyard.ai.questions import (
    CONTENT_TYPE,
    Finding,
    Item,
    Question,
    decode_findings,
    encode_question,
)
from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.services.sagemaker.endpoints import KIND as ENDPOINT
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.store.resources import (
    AlreadyExists,
    Create,
    Delete,
    Json,
    Key,
    ResourceStore,
    VersionConflict,
)

ACCOUNT, REGION = "modelyard", "local"
"""Of the platform's own endpoints: an account that no key can belong to."""
BUCKET = ".packs"
"""Where their artifacts are; no bucket of a user's can be called so."""
IMAGE = "modelyard/ai"
VARIANT = "AllTraffic"
WAIT_SECONDS = 50.0
"""A first answer waits so long for its model; the call's own deadline is 60 s."""
WAITING_MAX = 1_000
"""Requests that wait for models to start; past it they are refused."""
FOUND_SECONDS = 1.0
"""A pack that was found is looked for again after so long, whatever its folder says: libraries come and go beside it."""
FOUND_MAX = 1_000
_FRESH, _MOVING = ("Creating",), ("Creating", "Updating", "Deleting")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The pack that serves, while the packs have this mark, at most until then (monotonic seconds)."""

    ready: Ready
    mark: Mark
    until: float


class DataPlane(Protocol):
    """Asks a worker of an endpoint."""

    def is_routed(self, account: str, region: str, name: str) -> bool:
        """Whether the endpoint is in the routing table now."""

    async def ask(
        self,
        account: str,
        region: str,
        name: str,
        *,
        body: bytes,
        content_type: str,
        seconds: float,
    ) -> bytes:
        """The answer's body. Raises ``ServiceError``."""


class PackNotInstalled(ServiceError):
    """The service's model is not there; the text has the one command that mends it."""

    def __init__(self, missing: PackMissing) -> None:
        super().__init__("ModelPackNotInstalledException", str(missing))


class HostedModels:
    """Asks the model that serves a task, and hosts it first where nobody has asked before."""

    def __init__(
        self, *, store: ResourceStore, catalogue: Catalogue, data_plane: DataPlane, clock: Clock
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._data_plane = data_plane
        self._endpoints = Endpoints(store=store, clock=clock)
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._changed = asyncio.Event()
        self._waiting = 0
        self._hosted: set[str] = set()
        """Versions that were seen to serve since anything of the platform's own changed."""
        self._found: dict[tuple[str, str, str], _Found] = {}
        store.subscribe(self._notice)

    def _notice(self, key: Key) -> None:
        if key.account == ACCOUNT:
            self._hosted.clear()
            self._changed.set()
            self._changed = asyncio.Event()

    def find(self, service: str, task: str, language: str) -> Ready:
        """The pack that serves. Raises ``NotServed`` for the language, and ``PackNotInstalled``."""
        wanted = (service, task, language)
        found, now = self._found.get(wanted), self._clock.monotonic()
        is_fresh = found is not None and now < found.until
        if found and is_fresh and found.mark == self._catalogue.mark(found.ready.pack.name):
            return found.ready
        try:
            ready = self._catalogue.find(service, task, language)
        except PackMissing as missing:
            raise PackNotInstalled(missing) from None
        if len(self._found) >= FOUND_MAX:
            self._found.clear()
        mark = self._catalogue.mark(ready.pack.name)
        self._found[wanted] = _Found(ready=ready, mark=mark, until=now + FOUND_SECONDS)
        return ready

    def is_ready(self, service: str, task: str, language: str) -> bool:
        """Whether a pack serves, and is installed."""
        try:
            self._catalogue.find(service, task, language)
        except (PackMissing, NotServed):
            return False
        return True

    def languages(self, service: str, task: str) -> list[str]:
        """Every language that some pack serves."""
        return self._catalogue.languages(service, task)

    async def ask(
        self,
        call: Call,
        service: str,
        task: str,
        language: str,
        items: Sequence[Item],
        options: Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        """One finding for each item. Raises ``NotServed``, ``PackNotInstalled`` and ``ServiceError``."""
        return await self.ask_pack(call, self.find(service, task, language), task, items, options)

    async def ask_pack(
        self,
        call: Call,
        ready: Ready,
        task: str,
        items: Sequence[Item],
        options: Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        """As ``ask``, of a pack that was found before."""
        if not items:
            return []
        name = ready.pack.name
        await self._host(ready, call.deadline)
        body = encode_question(Question(task=task, items=list(items), options=dict(options or {})))
        answer = await self._data_plane.ask(
            ACCOUNT,
            REGION,
            name,
            body=body,
            content_type=CONTENT_TYPE,
            seconds=max(0.001, call.deadline - self._clock.monotonic()),
        )
        try:
            findings = decode_findings(answer)
        except msgspec.MsgspecError as error:
            raise _failed(name, f"gave an answer that cannot be read: {error}") from error
        if len(findings) != len(items):
            raise _failed(name, f"gave {len(findings)} findings for {len(items)} items")
        return findings

    async def _host(self, ready: Ready, deadline: float) -> None:
        """Return when the model serves. Raises ``ServiceError`` where it cannot, or not in time."""
        name = ready.pack.name
        is_routed = self._data_plane.is_routed(ACCOUNT, REGION, name)
        if is_routed and _version(ready) in self._hosted:
            return
        resource = self._store.get(_key(ENDPOINT, name))
        if (
            is_routed
            and resource is not None
            and resource.spec["EndpointConfigName"] == _version(ready)
        ):
            self._hosted.add(_version(ready))
            return
        if self._waiting >= WAITING_MAX:
            raise ServiceError(
                "ThrottlingException", "Too many requests wait for models.", status=429
            )
        self._waiting += 1
        try:
            seconds = min(WAIT_SECONDS, deadline - self._clock.monotonic())
            async with asyncio.timeout(max(0.0, seconds)):
                async with self._locks.setdefault(name, asyncio.Lock()):
                    await self._wish(ready)
                await self._wait(ready)
        except TimeoutError:
            raise ServiceError(
                "ServiceUnavailableException",
                f"The model {name} is being started and is not ready yet; try again.",
                status=503,
            ) from None
        finally:
            self._waiting -= 1

    async def wish(self, ready: Ready) -> None:
        """Have a model hosted, without waiting for it."""
        async with self._locks.setdefault(ready.pack.name, asyncio.Lock()):
            await self._wish(ready)

    def state(self, ready: Ready) -> tuple[str, str]:
        """``CREATING``, ``IN_SERVICE`` or ``FAILED``, and why it failed."""
        resource = self._store.get(_key(ENDPOINT, ready.pack.name))
        if resource is not None and resource.status["EndpointStatus"] == "Failed":
            return "FAILED", resource.status.get("FailureReason", "")
        is_routed = self._data_plane.is_routed(ACCOUNT, REGION, ready.pack.name)
        return ("IN_SERVICE" if is_routed else "CREATING"), ""

    async def _wish(self, ready: Ready) -> None:
        """The endpoint of this pack is wished for, in this version; idempotent."""
        name, version = ready.pack.name, _version(ready)
        await self._create(_key("model", version), model_spec(ready))
        await self._create(_key("endpoint-config", version), config_spec(version))
        call = _system_call(self._clock)
        while True:
            changed = self._changed
            resource = self._store.get(_key(ENDPOINT, name))
            if resource is None:
                await self._endpoints.create_endpoint(
                    call, endpoint_name=name, endpoint_config_name=version
                )
                return
            status = resource.status["EndpointStatus"]
            if resource.spec["EndpointConfigName"] == version and status != "Failed":
                if status != "Deleting":
                    return
            elif status == "Failed":
                await self._endpoints.delete_endpoint(call, endpoint_name=name)
                continue
            elif status not in _MOVING:
                await self._endpoints.update_endpoint(
                    call, endpoint_name=name, endpoint_config_name=version
                )
                return
            elif status in _FRESH:
                return  # It is tried with what was installed before; the next request sees to the new one.
            await changed.wait()

    async def _create(self, key: Key, spec: Json) -> None:
        if self._store.get(key) is None:
            try:
                await self._store.write(Create(key=key, spec=spec))
            except AlreadyExists:
                return

    async def _wait(self, ready: Ready) -> None:
        name = ready.pack.name
        while True:
            changed = self._changed
            resource = self._store.get(_key(ENDPOINT, name))
            if resource is None:
                raise _failed(name, "was reset while it started")
            if resource.status["EndpointStatus"] == "Failed":
                await self._discard(name)
                raise _failed(name, f"cannot be served: {resource.status.get('FailureReason', '')}")
            if self._data_plane.is_routed(ACCOUNT, REGION, name):
                return
            await changed.wait()

    async def _discard(self, name: str) -> None:
        """A model that failed is tried anew by the next request."""
        try:
            await self._endpoints.delete_endpoint(_system_call(self._clock), endpoint_name=name)
        except (ServiceError, VersionConflict):
            return

    async def forget(self, name: str) -> None:
        """Stop hosting a pack, as one that was removed. Nothing happens where it is not hosted.

        Whoever wishes for it is let finish first, and an endpoint that is being made cannot be deleted before it is there: it
        would stay with nobody to use it.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._until_made(name)
            await self._discard(name)
            for model in self._store.list("model", account=ACCOUNT, region=REGION):
                artifact = model.spec["PrimaryContainer"].get("ModelDataUrl", "")
                if artifact.startswith(f"s3://{BUCKET}/{name}/"):
                    await self._delete(_key("endpoint-config", model.key.name))
                    await self._delete(model.key)

    async def _until_made(self, name: str) -> None:
        while True:
            changed = self._changed
            resource = self._store.get(_key(ENDPOINT, name))
            if resource is None or resource.status["EndpointStatus"] not in (
                "Creating",
                "Updating",
            ):
                return
            await changed.wait()

    async def _delete(self, key: Key) -> None:
        with contextlib.suppress(VersionConflict):  # It is gone, or never was.
            await self._store.write(Delete(key=key))


def model_spec(ready: Ready) -> Json:
    """A model as CreateModel stores it."""
    environment = {"MODELYARD_ENGINE": ready.pack.engine}
    environment |= {
        f"MODELYARD_ENGINE_{name.upper()}": value for name, value in ready.pack.options.items()
    }
    container: Json = {"Image": IMAGE, "Environment": environment}
    if ready.archive is not None:
        container["ModelDataUrl"] = f"s3://{BUCKET}/{ready.pack.name}/{ready.key}"
    return {"ModelName": _version(ready), "PrimaryContainer": container, "Tags": []}


def config_spec(version: str) -> Json:
    """An endpoint config as CreateEndpointConfig stores it."""
    variant = {
        "VariantName": VARIANT,
        "ModelName": version,
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    return {"EndpointConfigName": version, "ProductionVariants": [variant], "Tags": []}


def unsupported_language(error: NotServed, language: str) -> ServiceError:
    """``UnsupportedLanguageException`` of the services that have one."""
    known = ", ".join(error.languages) or "none"
    return ServiceError(
        "UnsupportedLanguageException",
        f"The language {language} is not supported by the installed platform for this operation; supported: {known}. "
        "A model of your own can serve it: modelyard models add --help",
    )


def _version(ready: Ready) -> str:
    return ready.key


def _key(kind: str, name: str) -> Key:
    return Key(kind=kind, account=ACCOUNT, region=REGION, name=name)


def _system_call(clock: Clock) -> Call:
    principal = Principal(
        kind="root", arn="arn:aws:iam::modelyard:root", id=ACCOUNT, account=ACCOUNT
    )
    return Call(
        principal=principal,
        account=ACCOUNT,
        region=REGION,
        action="sagemaker:CreateEndpoint",
        request_id="",
        deadline=clock.monotonic() + WAIT_SECONDS,
    )


def _failed(name: str, what: str) -> ServiceError:
    return ServiceError("InternalServerException", f"The model {name} {what}", status=500)
