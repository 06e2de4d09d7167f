"""From specs to things that can be started: fleets from configs and models, process specs from placements.

An artifact is pinned when its fleet is planned, by a hard link under the artifacts: whatever is uploaded to its key or
deleted later, a worker that has to be started again loads the very same bytes.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import msgspec

from modelyard.base.settings import MIB, Home, Limits
from modelyard.domain.fleet import (
    Container,
    Fleet,
    ModelData,
    Placement,
    Serverless,
    Variant,
    place_name,
    short_id,
)
from modelyard.domain.images import (
    ENGINE,
    PROGRAM,
    RUNTIMES,
    Program,
    program_of,
    repository,
    runtime_of,
)
from modelyard.domain.instances import resources_of
from modelyard.domain.shelf import place_of
from modelyard.runtimes.engines import Engine
from modelyard.runtimes.runtime import Caps, LogStream, ProcessSpec
from modelyard.store.resources import Json

_MAX_BATCH = 256
SUBMIT = "SAGEMAKER_SUBMIT_DIRECTORY"
STARTUP, STARTUP_LIMIT = "SAGEMAKER_STARTUP_TIMEOUT", 3600
"""Seconds; AWS's limit of ``ContainerStartupHealthCheckTimeoutInSeconds``, which goes before it."""
_S3_URI = re.compile(r"s3://([^/]+)/(.*[^/])", re.DOTALL)
_LOOKS = 10
"""At an object whose file is gone when it is to be pinned: it was replaced meanwhile, or is lost."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class StoredObject(Protocol):
    """``store.objects.ObjectInfo``, as far as it matters here."""

    @property
    def etag(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def path(self) -> Path: ...


class ObjectReader(Protocol):
    """``store.objects.ObjectStore``, as far as it matters here; blocking."""

    def head(self, bucket: str, key: str) -> StoredObject | None: ...


class CannotPlan(Exception):
    """A fleet that cannot exist; the text is the endpoint's or job's ``FailureReason``."""


class Fleets:
    """Plans fleets and describes their workers."""

    def __init__(  # noqa: PLR0913 - what the composition root gives it
        self,
        *,
        objects: ObjectReader,
        home: Home,
        limits: Limits,
        address_of: Callable[[str], str],
        trusted_imports: Sequence[str] = (),
        programs: Callable[[], Mapping[str, Program]] = dict,
        find_engine: Callable[[], Engine] = Engine,
    ) -> None:
        self._objects = objects
        self._home = home
        self._limits = limits
        self._address_of = address_of
        self._trusted_imports = list(trusted_imports)
        self._programs = programs
        self._find_engine = find_engine

    async def plan(
        self,
        *,
        owner: str,
        generation: int,
        now: float,
        config_name: str,
        variants: Sequence[Json],
        models: Mapping[str, Json],
    ) -> Fleet:
        """The fleet of these production variants. Raises ``CannotPlan``."""
        version = f"{owner}/{generation}"
        planned = [await self._variant(variant, models, version) for variant in variants]
        return Fleet(
            owner=owner,
            generation=generation,
            created_at=now,
            config_name=config_name,
            variants=tuple(planned),
        )

    async def _variant(self, variant: Json, models: Mapping[str, Json], version: str) -> Variant:
        name = variant["VariantName"]
        model = models.get(variant["ModelName"])
        if model is None:
            raise CannotPlan(f"Could not find model {variant['ModelName']}.")
        containers = [
            await self._container(
                container,
                container_name,
                place_name(name, container_name),
                version,
                network_isolation=bool(model.get("EnableNetworkIsolation")),
            )
            for container_name, container in _named_containers(model)
        ]
        startup = variant.get("ContainerStartupHealthCheckTimeoutInSeconds") or max(
            (_startup_seconds(container.environment) for container in containers), default=0
        )
        return Variant(
            name=name,
            instance_type=variant.get("InstanceType", ""),
            count=variant.get("InitialInstanceCount", 1),
            weight=float(variant.get("InitialVariantWeight", 1.0)),
            containers=tuple(containers),
            startup_seconds=float(startup),
            serverless=_serverless(variant),
            direct=(model.get("InferenceExecutionConfig") or {}).get("Mode") == "Direct",
        )

    async def _container(
        self, container: Json, name: str, place: str, version: str, *, network_isolation: bool
    ) -> Container:
        image = container.get("Image", "")
        program = program_of(image, self._programs())
        runtime = runtime_of(image) if program is None else PROGRAM
        engine = ""
        if runtime is None:
            found = await asyncio.to_thread(self._find_engine)
            if not found.command:
                raise CannotPlan(_unknown_image(place, image, found.reason))
            runtime, engine = ENGINE, found.command
        source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
        uri = container.get("ModelDataUrl") or source.get("S3Uri") or ""
        many = container.get("Mode") == "MultiModel"
        if many and runtime in (PROGRAM, ENGINE):
            raise CannotPlan(
                f"{place}: Modelyard does not execute multi-model endpoints of images of your own; use a built-in one."
            )
        if many:
            data = await asyncio.to_thread(self._shelf, uri, place, version)
        else:
            data = await asyncio.to_thread(self._pin, uri, place)
        environment = dict(container.get("Environment") or {})
        submitted = environment.get(SUBMIT, "")
        code = submitted if submitted.startswith("s3://") else ""
        script = await asyncio.to_thread(self._pin, code, place, f"the archive of {SUBMIT}")
        return Container(
            name=name,
            image=image,
            runtime=runtime,
            environment=environment,
            data=data,
            code=script,
            program=program,
            engine=engine,
            network_isolation=network_isolation,
            multi_model=many,
            keeps_models=_keeps_models(container),
        )

    def _shelf(self, uri: str, place: str, version: str) -> ModelData:
        """An empty shelf of this version's own: the next one finds models as they are then."""
        if not re.fullmatch(r"s3://[^/]+/.*", uri, re.DOTALL):
            raise CannotPlan(f"{place}: a multi-model container needs a ModelDataUrl of s3://….")
        key = f"shelf-{short_id(version, place, uri)}"
        path = pin_folder(self._home, key)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ModelData(uri=uri if uri.endswith("/") else f"{uri}/", path=str(path), key=key)

    def shelve(self, container: Container, model: str) -> bool:
        """Put a model on its container's shelf, if there is one of the name. Blocks; idempotent."""
        bucket, _, prefix = container.data.uri.removeprefix("s3://").partition("/")
        shelf = Path(container.data.path)
        for _ in range(_LOOKS):
            stored = self._objects.head(bucket, prefix + model)
            if stored is None:
                break
            with contextlib.suppress(FileNotFoundError):
                _link(stored.path, shelf / place_of(model))
                return True
        return False

    def _pin(self, uri: str, place: str, what: str = "model data") -> ModelData:
        if not uri:
            return ModelData()
        match = _S3_URI.fullmatch(uri)
        for _ in range(_LOOKS):
            stored = match and self._objects.head(match[1], match[2])
            if match is None or stored is None:
                break
            name = match[2].rpartition("/")[2]
            key = _UNSAFE.sub("_", f"{stored.etag}-{stored.size}")
            path = pin_folder(self._home, key) / _UNSAFE.sub("_", name)
            # Replaced between the two steps, it is looked up again.
            with contextlib.suppress(FileNotFoundError):
                _link(stored.path, path)
                return ModelData(uri=uri, path=str(path), key=key, name=name)
        raise CannotPlan(f"{place}: could not find {what} at {uri}.")

    def address(self, worker_id: str) -> str:
        """Where a worker of this id listens."""
        return self._address_of(worker_id)

    def worker(
        self,
        placement: Placement,
        *,
        arn: str,
        log: LogStream,
        environment: Mapping[str, str] | None = None,
        payload_bytes: int = 0,
        invocation_seconds: float = 0.0,
    ) -> ProcessSpec:
        """What the runtime is told; a fair share of the instance for each of a replica's containers."""
        container = placement.container
        limits = self._limits
        return ProcessSpec(
            id=placement.id,
            kind="worker",
            address=self._address_of(placement.id),
            log=log,
            caps=_share(placement.variant),
            startup_seconds=placement.variant.startup_seconds,
            network_isolation=container.network_isolation,
            zone=placement.zone,
            payload={
                "id": placement.id,
                "program": msgspec.to_builtins(container.program),
                "engine": container.engine,
                "image_uri": container.image,
                "caps": asdict(_share(placement.variant)),
                "network_isolation": container.network_isolation,
                "model": _archive(container.data),
                "code": _archive(container.code),
                "multi_model": {"keeps": container.keeps_models} if container.multi_model else None,
                "image": container.runtime,
                "environment": {**container.environment, **(environment or {})},
                "artifacts": str(self._home.artifacts),
                "max_batch": _MAX_BATCH,
                "queue": limits.replica_queue,
                "limits": {
                    "payload_bytes": payload_bytes or limits.payload_bytes,
                    "artifact_bytes": limits.artifact_bytes,
                    "artifact_files": limits.artifact_files,
                    "invocation_seconds": invocation_seconds or limits.invocation_seconds,
                },
                "trusted_imports": self._trusted_imports,
                "arn": arn,
                "container": container.name,
            },
        )


def _unknown_image(place: str, image: str, reason: str) -> str:
    return (
        f"{place}: Image {image} is not one that Modelyard runs: it has built-in runtimes for the repositories "
        f"{', '.join(RUNTIMES)}, and no container engine can run it ({reason}). A program of this machine that "
        f"answers `serve` becomes an image by: modelyard image add {repository(image)} --dir FOLDER"
    )


def _keeps_models(container: Json) -> bool:
    setting = (container.get("MultiModelConfig") or {}).get("ModelCacheSetting", "Enabled")
    return bool(setting == "Enabled")


def _archive(data: ModelData) -> Json:
    return {"path": data.path, "key": data.key, "name": data.name}


def _serverless(variant: Json) -> Serverless | None:
    given = variant.get("ServerlessConfig")
    if not given:
        return None
    return Serverless(
        memory=given["MemorySizeInMB"],
        concurrency=given["MaxConcurrency"],
        provisioned=given.get("ProvisionedConcurrency") or 0,
    )


def _share(variant: Variant) -> Caps:
    """Each container's part of the instance; an instance type that is not known has no limits."""
    if variant.serverless is not None:
        return Caps(memory_bytes=variant.serverless.memory * MIB)
    resources = resources_of(variant.instance_type)
    if resources is None:
        return Caps()
    containers = len(variant.containers)
    return Caps(
        cpus=resources.cpus / containers,
        memory_bytes=resources.memory_bytes // containers,
        accelerators=resources.accelerators,
    )


def _startup_seconds(environment: Mapping[str, str]) -> int:
    """What the model itself asks for, as AWS's framework containers read it; 0 if nothing. Raises ``CannotPlan``."""
    text = environment.get(STARTUP, "")
    if text and not (text.isdecimal() and 0 < int(text) <= STARTUP_LIMIT):
        raise CannotPlan(
            f"{STARTUP}={text!r} is not a number of seconds from 1 to {STARTUP_LIMIT}."
        )
    return int(text or 0)


def pin_folder(home: Home, key: str) -> Path:
    """Where the artifact of this content is kept for those who need it."""
    return home.artifacts / ".pinned" / key


def instance_id(placement: Placement, owner: str) -> str:
    """The name of a replica in log streams, in the form of AWS's instance ids."""
    place = short_id(owner, placement.slot.rpartition("/")[0])
    return f"i-{place[:17]}"


def _named_containers(model: Json) -> list[tuple[str, Json]]:
    """In the order in which a request passes them. AWS calls the only one of a model *primary*."""
    primary = model.get("PrimaryContainer")
    containers = [primary] if primary else list(model.get("Containers") or [])
    names = ["primary"] if len(containers) == 1 else [f"container-{n + 1}" for n in range(15)]
    return [
        (container.get("ContainerHostname") or name, container)
        for name, container in zip(names, containers, strict=False)
    ]


def _link(source: Path, target: Path) -> None:
    """Keep ``source`` under another name too; raises ``FileNotFoundError`` if it is gone."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        os.utime(target)  # the same content, pinned before; not garbage, although it may be old
