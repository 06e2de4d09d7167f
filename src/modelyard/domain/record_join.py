"""``DataProcessing`` and inference ids: what goes to the model of a record, and what is stored of its answer.

Filters and join look at one record at a time: a line of CSV, JSON Lines or split JSON, or an object's whole JSON text.
What they do not touch keeps its own text. An answer is joined with the whole record as it was before the input filter,
and only if there is one answer for each record of its request.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from modelyard.domain.record_paths import (
    BadPath,
    NotInRecord,
    RecordPath,
    check_csv_path,
    csv_cells,
    parse_path,
)
from modelyard.domain.transform_packing import Batch

Kind = Literal["csv", "json", "lines"]
OUTPUT, INPUT = "SageMakerOutput", "SageMakerInput"
INFERENCE_ID, INFERENCE_TIME = "SageMakerInferenceId", "SageMakerInferenceTime"
_KINDS: Mapping[str, Kind] = {
    "text/csv": "csv",
    "application/json": "json",
    "application/jsonlines": "lines",
    "application/x-jsonlines": "lines",
    "application/x-ndjson": "lines",
}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Misaligned(Exception):
    """There is not one answer for each record: nobody can tell which answer is whose."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """``GenerateInferenceId``: ids that depend on the job, the object and the record, so that a resumed job gives the same."""

    seed: str
    time: str

    def id_of(self, key: str, number: int) -> str:
        text = f"{self.seed}\0{key}\0{number}".encode()
        digest = hashlib.blake2b(text, digest_size=16).digest()
        return str(uuid.UUID(bytes=digest, version=4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """What a job does with each record; ``is_split`` if records are lines of the object."""

    source: Kind
    answer: Kind
    input_filter: RecordPath
    output_filter: RecordPath
    joins: bool
    is_split: bool
    generates_ids: bool = False

    @property
    def prepare(self) -> Callable[[bytes], bytes] | None:
        """Of a record, what the model gets; None where it gets the record as it is."""
        return None if self.input_filter.is_whole else self._filtered_input

    @property
    def changes_answers(self) -> bool:
        return self.joins or self.generates_ids or not self.output_filter.is_whole

    def _filtered_input(self, record: bytes) -> bytes:
        if self.source == "json" and not self.is_split:
            return self.input_filter.of_json(record)
        return b"\n".join(
            self._filtered_line(line) if line else line for line in record.split(b"\n")
        )

    def _filtered_line(self, line: bytes) -> bytes:
        text = line.removesuffix(b"\r")
        if self.source == "csv":
            chosen = b",".join(self.input_filter.of_cells(csv_cells(text)))
        else:
            chosen = self.input_filter.of_json(text)
        return chosen + line[len(text) :]

    def stored(self, batch: Batch, answer: bytes, *, key: str, stamp: Stamp | None) -> bytes:
        """What is written for an answer. Raises ``Misaligned`` and ``NotInRecord``."""
        rows = self._rows(answer, self.answer)
        records: Sequence[bytes] = ()
        if self.joins:
            records = self._records(batch)
        expected = len(records) if self.joins else batch.records
        if (self.joins or (stamp and self.is_split)) and len(rows) != expected:
            raise Misaligned(f"the model answered {len(rows)} rows for {expected} records")
        if self.joins:
            join = _joined_rows if self.answer == "csv" else _joined_json
            rows = [join(record, row) for record, row in zip(records, rows, strict=True)]
        if not self.output_filter.is_whole:
            rows = [self._chosen(row) for row in rows]
        if stamp is not None:
            ids = (
                stamp.id_of(key, number) for number in range(batch.first, batch.first + len(rows))
            )
            add = _stamped_row if self.answer == "csv" else _stamped_json
            rows = [add(row, one, stamp.time) for row, one in zip(rows, ids, strict=True)]
        end = b"\n" if answer.endswith(b"\n") else b""
        return b"\n".join(rows) + end

    def _records(self, batch: Batch) -> Sequence[bytes]:
        """The whole original records without their line ends; without a filter they are what was sent."""
        if not batch.originals:
            return self._rows(batch.body, self.source)
        if self.is_split:
            return [one.removesuffix(b"\n").removesuffix(b"\r") for one in batch.originals]
        return self._rows(batch.originals[0], self.source)

    def _rows(self, body: bytes, kind: Kind) -> list[bytes]:
        """One text a record: of JSON that is not split the whole body, else each line."""
        if kind == "json" and not self.is_split:
            return [body.strip()]
        body = body.removesuffix(b"\n")
        lines = body.split(b"\n")
        if b"\r" in body:
            lines = [line.removesuffix(b"\r") for line in lines]
        return lines

    def _chosen(self, row: bytes) -> bytes:
        if self.answer == "csv":
            return b",".join(self.output_filter.of_cells(csv_cells(row)))
        return self.output_filter.of_json(row)


def processing_of(spec: Mapping[str, Any]) -> Processing | None:
    """What the parameters of ``CreateTransformJob`` ask for; None if nothing. Raises ``BadPath``, with what to do."""
    given = spec.get("DataProcessing") or {}
    source, target = spec["TransformInput"], spec["TransformOutput"]
    input_filter = parse_path(given.get("InputFilter") or "$")
    output_filter = parse_path(given.get("OutputFilter") or "$")
    joins = given.get("JoinSource") == "Input"
    generates_ids = bool((spec.get("DataCaptureConfig") or {}).get("GenerateInferenceId"))
    if input_filter.is_whole and output_filter.is_whole and not joins and not generates_ids:
        return None
    content_type = source.get("ContentType") or ""
    accept = target.get("Accept") or content_type
    split, assemble = source.get("SplitType") or "None", target.get("AssembleWith") or "None"
    if split not in ("None", "Line"):
        raise BadPath(f"DataProcessing needs records of text: SplitType Line or None, not {split}.")
    if joins and split != assemble:
        raise BadPath(
            f"JoinSource Input needs AssembleWith to be as SplitType: {split}, not {assemble}."
        )
    source_kind, answer_kind = _kind(content_type, "ContentType"), _kind(accept, "Accept")
    if joins and source_kind != answer_kind:
        raise BadPath(
            f"JoinSource Input needs Accept to be as ContentType: {content_type}, not {accept}."
        )
    for path, kind in ((input_filter, source_kind), (output_filter, answer_kind)):
        if kind == "csv":
            check_csv_path(path)
    return Processing(
        source=source_kind,
        answer=answer_kind,
        input_filter=input_filter,
        output_filter=output_filter,
        joins=joins,
        is_split=split == "Line",
        generates_ids=generates_ids,
    )


def _kind(content_type: str, member: str) -> Kind:
    kind = _KINDS.get(content_type.partition(";")[0].strip().lower())
    if kind is None:
        raise BadPath(
            f"DataProcessing and inference ids need {member} to be one of {', '.join(_KINDS)}; "
            f"it is {content_type or 'not given'}."
        )
    return kind


def _joined_rows(record: bytes, row: bytes) -> bytes:
    return record + b"," + row


def _joined_json(record: bytes, row: bytes) -> bytes:
    """A JSON object gets the answer as a member; anything else stands beside it."""
    answer = _raw(row)
    try:
        members = _members(record)
    except msgspec.ValidationError:
        return _encode({INPUT: _raw(record), OUTPUT: answer})
    except msgspec.DecodeError as error:
        raise NotInRecord(f"a record is not JSON: {error}") from None
    members[OUTPUT] = answer
    return _encode(members)


def _stamped_row(row: bytes, inference_id: str, time: str) -> bytes:
    return b"%b,%b,%b" % (row, inference_id.encode(), time.encode())


def _stamped_json(row: bytes, inference_id: str, time: str) -> bytes:
    try:
        members: dict[str, Any] = dict(_members(row))
    except msgspec.ValidationError:
        members = {OUTPUT: _raw(row)}
    except msgspec.DecodeError as error:
        raise NotInRecord(f"an answer is not JSON: {error}") from None
    members[INFERENCE_ID], members[INFERENCE_TIME] = inference_id, time
    return _encode(members)


def _raw(text: bytes) -> msgspec.Raw:
    """JSON as it is written. Raises ``NotInRecord`` for what is not JSON."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise NotInRecord(f"an answer is not JSON: {error}") from None
    return msgspec.Raw(text)
