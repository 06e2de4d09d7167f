"""Batch transform without its I/O: what a job's request means, and where its outputs go."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from modelyard.domain.record_join import Processing, processing_of
from modelyard.domain.transform_packing import (
    PACKED_BYTES_MAX,
    PackedLines,
    PackedRecords,
    Packer,
)
from modelyard.domain.transform_records import FRAMINGS, SplitType

MIB = 1 << 20
DEFAULT_PAYLOAD_MIB = 6
UNLIMITED_BYTES = 1024 * MIB
"""What ``MaxPayloadInMB`` 0 means: a bound all the same, for a request is held in memory as a whole."""
MEMORY_MIB = 100
"""``MaxConcurrentTransforms`` times ``MaxPayloadInMB`` may be so much."""
SHARE_OBJECTS = "MODELYARD_TRANSFORM_SHARE_OBJECTS"
SWITCHES = {
    "MODELYARD_TRANSFORM_COLUMNS": True,
    "MODELYARD_TRANSFORM_DEAD_LETTERS": False,
    "MODELYARD_TRANSFORM_MANIFEST": False,
    SHARE_OBJECTS: False,
}
"""Variables of a job's ``Environment`` that are for Modelyard, not for the container, and their defaults."""
_SWITCH_PREFIX = "MODELYARD_TRANSFORM_"
_VALUES = {"true": True, "1": True, "false": False, "0": False}


class ExecutionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What a container answers to ``GET /execution-parameters``; a job's request goes before it.

    A worker says so when it is ready: ``worker_report.EXECUTION_PARAMETERS``.
    """

    MaxConcurrentTransforms: int | None = None
    BatchStrategy: Literal["MULTI_RECORD", "SINGLE_RECORD"] | None = None
    MaxPayloadInMB: int | None = None


def execution_parameters(value: object) -> ExecutionParameters:
    """What a container said, as far as it makes sense: an answer that does not means the defaults."""
    try:
        given = msgspec.convert(value or {}, ExecutionParameters)
    except msgspec.ValidationError:
        return ExecutionParameters()
    concurrency, payload = given.MaxConcurrentTransforms, given.MaxPayloadInMB
    return ExecutionParameters(
        MaxConcurrentTransforms=concurrency if concurrency and 0 < concurrency <= 100 else None,
        BatchStrategy=given.BatchStrategy,
        MaxPayloadInMB=payload if payload is not None and 0 <= payload <= MEMORY_MIB else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformOptions:
    """What a job's request says of splitting, sending and assembling, with AWS's defaults."""

    content_type: str = ""
    accept: str = ""
    split: SplitType = "None"
    strategy: Literal["MultiRecord", "SingleRecord"] = "MultiRecord"
    assemble: Literal["None", "Line"] = "None"
    is_gzip: bool = False
    payload_bytes: int = DEFAULT_PAYLOAD_MIB * MIB
    concurrency: int = 1
    timeout_seconds: float = 600.0
    retries: int = 3
    processing: Processing | None = None
    columns: bool = True
    dead_letters: bool = False
    has_manifest: bool = False
    shares_objects: bool = False

    @classmethod
    def of(cls, spec: Mapping[str, Any], execution: object = None) -> "TransformOptions":
        """From the parameters of ``CreateTransformJob``, and what the container said of itself."""
        source, target = spec["TransformInput"], spec["TransformOutput"]
        reported = execution_parameters(execution)
        given = spec.get("MaxPayloadInMB")
        if given is None:
            given = reported.MaxPayloadInMB
        mebibytes = DEFAULT_PAYLOAD_MIB if given is None else given
        strategy: Literal["MultiRecord", "SingleRecord"] = (
            "SingleRecord" if reported.BatchStrategy == "SINGLE_RECORD" else "MultiRecord"
        )
        client = spec.get("ModelClientConfig") or {}
        retries = client.get("InvocationsMaxRetries")
        processing = processing_of(spec)
        content_type = source.get("ContentType") or ""
        switches = switches_of(spec)
        return cls(
            content_type=content_type,
            accept=target.get("Accept") or (content_type if processing else ""),
            split=source.get("SplitType") or "None",
            strategy=spec.get("BatchStrategy") or strategy,
            assemble=target.get("AssembleWith") or "None",
            is_gzip=source.get("CompressionType") == "Gzip",
            payload_bytes=mebibytes * MIB or UNLIMITED_BYTES,
            concurrency=spec.get("MaxConcurrentTransforms")
            or reported.MaxConcurrentTransforms
            or 1,
            timeout_seconds=float(client.get("InvocationsTimeoutInSeconds") or 600),
            retries=3 if retries is None else retries,
            processing=processing,
            columns=switches["MODELYARD_TRANSFORM_COLUMNS"],
            dead_letters=switches["MODELYARD_TRANSFORM_DEAD_LETTERS"],
            has_manifest=switches["MODELYARD_TRANSFORM_MANIFEST"],
            shares_objects=switches[SHARE_OBJECTS],
        )

    @property
    def is_single(self) -> bool:
        """Whether a request holds one record."""
        return self.split != "None" and self.strategy == "SingleRecord"

    def packer(self, *, together_bytes: int = 0) -> Packer:
        """A fresh packer for one object. With ``together_bytes`` lines are packed whatever the strategy, up to so many."""
        prepare = self.processing.prepare if self.processing else None
        is_single = self.is_single and not together_bytes
        size = together_bytes if self.is_single and together_bytes else PACKED_BYTES_MAX
        if self.split == "Line" and not is_single and prepare is None:
            return PackedLines(self.payload_bytes, size)
        return PackedRecords(
            framing=FRAMINGS[self.split](self.payload_bytes),
            limit=self.payload_bytes,
            is_single=is_single,
            prepare=prepare,
            size=size,
        )

    def assembled(self, answer: bytes) -> bytes:
        """One answer as it is written: ``Line`` ends each with one line feed, ``None`` changes nothing."""
        if self.assemble == "Line" and not answer.endswith(b"\n"):
            return answer + b"\n"
        return answer


def switches_of(spec: Mapping[str, Any]) -> dict[str, bool]:
    """What the job's ``MODELYARD_TRANSFORM_*`` variables ask for. Raises ``ValueError`` that names a wrong one."""
    switches = dict(SWITCHES)
    for name, text in (spec.get("Environment") or {}).items():
        if not name.startswith(_SWITCH_PREFIX):
            continue
        if name not in SWITCHES:
            raise ValueError(f"Environment variable {name} is not known: {', '.join(SWITCHES)}.")
        if text.lower() not in _VALUES:
            raise ValueError(f"Environment variable {name}={text!r} is neither true nor false.")
        switches[name] = _VALUES[text.lower()]
    if switches[SHARE_OBJECTS]:
        _check_sharing(spec, switches)
    return switches


def _check_sharing(spec: Mapping[str, Any], switches: Mapping[str, bool]) -> None:
    """Ranges of an object know neither the numbers of their records nor, compressed, their places."""
    source = spec["TransformInput"]
    captures = spec.get("DataCaptureConfig") or {}
    if (
        source.get("SplitType") != "Line"
        or source.get("CompressionType") == "Gzip"
        or captures.get("GenerateInferenceId")
        or switches["MODELYARD_TRANSFORM_DEAD_LETTERS"]
    ):
        raise ValueError(
            f"{SHARE_OBJECTS} needs SplitType Line, and neither Gzip, GenerateInferenceId nor dead letters."
        )


def has_no_payload_limit(environment: Mapping[str, str]) -> bool:
    """Whether a container, by its environment, is one of a job whose requests may have any size."""
    return (
        environment.get("SAGEMAKER_BATCH") == "true"
        and environment.get("SAGEMAKER_MAX_PAYLOAD_IN_MB") == "0"
    )


def container_environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a container of the job finds in its environment, over that of its model."""
    given = spec.get("Environment") or {}
    own = {name: text for name, text in given.items() if not name.startswith(_SWITCH_PREFIX)}
    environment = {"SAGEMAKER_BATCH": "true", **own}
    if spec.get("MaxPayloadInMB") is not None:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(spec["MaxPayloadInMB"])
    if spec.get("BatchStrategy"):
        strategies = {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}
        environment["SAGEMAKER_BATCH_STRATEGY"] = strategies[spec["BatchStrategy"]]
    if spec.get("MaxConcurrentTransforms") is not None:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(spec["MaxConcurrentTransforms"])
    return environment


@dataclass(frozen=True, slots=True)
class Location:
    """An ``s3://bucket/key-or-prefix``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Raises ``ValueError`` for what is no S3 URI."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise ValueError(f"not an S3 URI: {uri!r}")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def relative_key(key: str, prefix: str) -> str:
    """The part of an input's key that its output keeps: the path below the prefix, if that names a folder.

    A prefix that ends inside a name (``data/part-``) keeps the path below its own folder.
    """
    for folder in (
        prefix if prefix.endswith("/") else f"{prefix}/",
        prefix.rpartition("/")[0] + "/",
    ):
        if folder != "/" and key.startswith(folder) and len(key) > len(folder):
            return key[len(folder) :]
    return key


def output_key(key: str, *, prefix: str, output_prefix: str) -> str:
    """Where the answers for an input object are written."""
    folder = output_prefix.rstrip("/")
    name = f"{relative_key(key, prefix)}.out"
    return f"{folder}/{name}" if folder else name


def is_input(key: str, size: int) -> bool:
    """Folder markers and empty objects produce no request, and no output."""
    return size > 0 and not key.endswith("/")
