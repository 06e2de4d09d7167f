"""The reconciler of transform jobs: starts replicas and the job's process, watches both, says how it ended."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.arns import sagemaker_arn
from modelyard.base.clock import Clock, SteadyTime
from modelyard.base.failpoint import failpoint
from modelyard.base.settings import Home, Limits
from modelyard.control.data_logs import Logs, bring_data_log
from modelyard.control.endpoints import fleet_owner
from modelyard.control.fleets import CannotPlan, Fleets, instance_id
from modelyard.control.processes import Processes
from modelyard.domain.fleet import Fleet, Placement, placements, short_id, to_json
from modelyard.domain.transform import (
    MEMORY_MIB,
    MIB,
    TransformOptions,
    container_environment,
)
from modelyard.domain.transform_plan import (
    FIRST,
    DropJournal,
    ForgetProcess,
    Job,
    JobMemory,
    JobStep,
    PrepareJob,
    SaveJob,
    StartJob,
    StartReplicaWorker,
    StopProcess,
    TellReplicas,
    plan_job,
    process_id,
)
from modelyard.domain.worker_report import EXECUTION_PARAMETERS, TAKES_ARRAYS
from modelyard.runtimes.runtime import LogStream, ProcessSpec
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

_MEMORY = "control"
_LOG_GROUP = "/aws/sagemaker/TransformJobs"
_REPLICAS_FILE = "replicas.json"


class TransformJobReconciler:
    """One pass: load, plan, guarded write, idempotent steps."""

    def __init__(  # noqa: PLR0913 - what it acts through
        self,
        *,
        store: ResourceStore,
        processes: Processes,
        fleets: Fleets,
        clock: Clock,
        home: Home,
        limits: Limits,
        logs: Logs | None = None,
    ) -> None:
        self._store = store
        self._processes = processes
        self._fleets = fleets
        self._clock = clock
        self._steady = SteadyTime(clock)
        self._home = home
        self._limits = limits
        self._logs = logs

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look. Raises ``VersionConflict`` and ``RuntimeUnavailable``."""
        resource = self._store.get(key)
        if resource is None:
            await self._processes.abandon(key, grace_seconds=self._limits.drain_seconds)
            return float("inf")
        memory = job_memory(resource)
        progress = await self._progress(resource, memory)
        job = Job(
            owner=fleet_owner(resource),
            stopping=resource.spec.get("stopping", False),
            memory=memory,
            proposal=await self._proposal(resource, memory),
        )
        decided = plan_job(
            job,
            await self._processes.observed(),
            now=self._steady.now(),
            startup_seconds=self._limits.startup_seconds,
            restart_attempts=self._limits.restart_attempts,
            objects_done=progress.get("objects_done", 0),
        )
        if memory.process is not None:
            await self._bring_data_log(resource)
        for step in decided.steps:
            resource = await self._apply(step, resource, progress)
        return decided.seconds

    async def _progress(self, resource: Resource, memory: JobMemory) -> dict[str, Any]:
        """What the process last reported, or what was known before."""
        if memory.process is not None:
            process_name = process_id(fleet_owner(resource), memory.process)
            process = (await self._processes.current()).get(process_name)
            if process is not None and process.progress:
                return process.progress
        return dict(resource.status.get("progress") or {})

    async def _bring_data_log(self, resource: Resource) -> None:
        if self._logs is not None:
            folder = job_folder(self._home, resource)
            await asyncio.to_thread(bring_data_log, folder, _job_stream(resource), self._logs)

    async def _proposal(self, resource: Resource, memory: JobMemory) -> Fleet | str | None:
        spec = resource.spec
        if memory.fleet is not None or memory.outcome or spec.get("stopping"):
            return None
        resources = spec["TransformResources"]
        variant = {
            "VariantName": "",
            "ModelName": spec["ModelName"],
            "InstanceType": resources["InstanceType"],
            "InitialInstanceCount": resources["InstanceCount"],
        }
        try:
            return await self._fleets.plan(
                owner=fleet_owner(resource),
                generation=1,
                now=self._steady.now(),
                config_name="",
                variants=[variant],
                models={spec["ModelName"]: spec["model"]},
            )
        except CannotPlan as error:
            return str(error)

    async def _apply(self, step: JobStep, resource: Resource, progress: Json) -> Resource:
        match step:
            case SaveJob(memory=memory):
                resource = await self._save(memory, resource, progress)
                failpoint("transform-job.after-save")
            case TellReplicas(workers=workers):
                await asyncio.to_thread(self._write_replicas, resource, workers)
            case StartReplicaWorker(placement=placement):
                await self._start_worker(placement, resource)
            case PrepareJob(id=job_id):
                content_type = resource.spec["TransformInput"].get("ContentType", "")
                await self._processes.start(
                    ProcessSpec(
                        id=job_id, kind="job", log=_job_stream(resource), prepares_for=content_type
                    )
                )
                failpoint("transform-job.after-prepare")
            case StartJob(id=job_id, workers=workers):
                await asyncio.to_thread(self._write_replicas, resource, workers)
                reported = await self._reported(workers)
                await self._processes.start(self._job_spec(job_id, workers, resource, reported))
                failpoint("transform-job.after-start")
            case StopProcess(id=name):
                await self._processes.stop(name, grace_seconds=self._limits.drain_seconds)
            case ForgetProcess(id=name):
                await self._processes.forget(name)
            case DropJournal():
                folder = job_folder(self._home, resource)
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return resource

    async def _reported(self, workers: Sequence[Placement]) -> Json:
        """What ready workers said of themselves: the first container's execution parameters, each one's arrays."""
        known = await self._processes.current()
        array_types: dict[str, set[str]] = {}
        execution = None
        for worker in workers:
            said = known[worker.id].progress if worker.id in known else {}
            array_types.setdefault(worker.container.name, set()).add(said.get(TAKES_ARRAYS) or "")
            if worker.id == workers[0].id:
                execution = said.get(EXECUTION_PARAMETERS)
        return {
            "execution": execution,
            "takes_arrays": [
                types.pop() if len(types) == 1 else "" for types in array_types.values()
            ],
        }

    async def _start_worker(self, placement: Placement, resource: Resource) -> None:
        options = TransformOptions.of(resource.spec)
        await self._processes.start(
            self._fleets.worker(
                placement,
                arn=_arn(resource.key),
                log=_log_stream(resource, instance_id(placement, fleet_owner(resource))),
                environment=container_environment(resource.spec),
                # Before it is ready nobody knows what its container will say, nor how large arrays are.
                payload_bytes=max(
                    options.payload_bytes, self._limits.payload_bytes, MEMORY_MIB * MIB
                ),
                invocation_seconds=options.timeout_seconds,
            )
        )

    def _job_spec(
        self, job_id: str, workers: Sequence[Placement], resource: Resource, reported: Json
    ) -> ProcessSpec:
        spec = {name: value for name, value in resource.spec.items() if name != "model"}
        log = _job_stream(resource)
        return ProcessSpec(
            id=job_id,
            kind="job",
            log=log,
            payload={
                **reported,
                "job": "transform",
                "journal": str(job_folder(self._home, resource)),
                "objects": str(self._home.objects),
                "external_s3": str(self._home.external_s3),
                "fetched": str(self._home.fetched),
                "spec": spec,
                "replicas": self._addresses(workers),
                "containers": [worker.container.name for worker in workers if not worker.replica],
                "account": resource.key.account,
                "region": resource.key.region,
            },
        )

    def _addresses(self, workers: Sequence[Placement]) -> list[list[str]]:
        replicas: dict[int, list[str]] = {}
        for worker in workers:
            replicas.setdefault(worker.replica, []).append(self._fleets.address(worker.id))
        return [replicas[replica] for replica in sorted(replicas)]

    def _write_replicas(self, resource: Resource, workers: Sequence[Placement]) -> None:
        """The process looks into this file when a worker is gone; replaced by rename."""
        data = msgspec.json.encode(self._addresses(workers))
        folder = job_folder(self._home, resource)
        file = folder / _REPLICAS_FILE
        if _content(file) == data:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(data)
        os.replace(temporary, file)

    async def _save(self, memory: JobMemory, resource: Resource, progress: Json) -> Resource:
        """Write the status if it says anything new; claim the processes that it names."""
        self._processes.claim(resource.key, process_ids(memory, fleet_owner(resource)))
        before = resource.status
        status: Json = {**before, "progress": progress, _MEMORY: to_json(memory)}
        if memory.outcome:
            status["TransformJobStatus"] = memory.outcome
            began = status.get("TransformStartTime", 0.0)
            status.setdefault("TransformEndTime", max(self._clock.now(), began))
        elif resource.spec.get("stopping"):
            status["TransformJobStatus"] = "Stopping"
        if memory.process is not None:
            status.setdefault("TransformStartTime", self._clock.now())
        if memory.failure:
            status["FailureReason"] = memory.failure
        if status == before:
            return resource
        update = Update(key=resource.key, version=resource.version, status=status)
        (written,) = await self._store.write(update)
        return written


def job_memory(resource: Resource) -> JobMemory:
    """What the last pass remembered."""
    return msgspec.convert(resource.status.get(_MEMORY, {}), JobMemory)


def job_folder(home: Home, resource: Resource) -> Path:
    """The journal's folder: the same for each attempt of the job."""
    return home.jobs / short_id(fleet_owner(resource))


def process_ids(memory: JobMemory, owner: str) -> set[str]:
    """Every process that the job still has a use for, or still has to stop."""
    ids = set(memory.retired)
    if memory.fleet is not None:
        ids.update(placement.id for placement in placements(memory.fleet, memory.slots))
        ids.add(process_id(owner, memory.process or FIRST))
    return ids


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _arn(key: Key) -> str:
    return sagemaker_arn(key.region, key.account, "transform-job", key.name)


def _job_stream(resource: Resource) -> LogStream:
    """Of the job's own process, which has an instance to itself."""
    return _log_stream(resource, f"i-{short_id(fleet_owner(resource), 'job')[:17]}")


def _log_stream(resource: Resource, instance: str) -> LogStream:
    key = resource.key
    suffix = short_id(fleet_owner(resource))[:8]
    stream = f"{key.name}/{instance}-{suffix}"
    return LogStream(account=key.account, region=key.region, group=_LOG_GROUP, stream=stream)
