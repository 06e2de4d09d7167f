"""Data capture: which invocations are kept, as which lines, under which keys. Pure.

Source: AWS's "Capture data" of SageMaker and hosting.md, section 6. Text is kept as it is only for the content types that the
configuration lists as CSV or JSON; everything else is base64.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

_VERSION = "0"
_PLACE = re.compile(r"(?:^|/)([^/]+)/([^/]+)/(\d{4}/\d\d/\d\d/\d\d/[^/]+)\.jsonl$")


class CaptureRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an endpoint's configuration asks for; ``percent`` of its invocations."""

    destination: str
    percent: int
    inputs: bool = False
    outputs: bool = False
    csv_types: tuple[str, ...] = ()
    json_types: tuple[str, ...] = ()


class Side(msgspec.Struct, frozen=True, gc=False):
    """A request's or an answer's body, with its content type."""

    content_type: str
    body: bytes


class Seen(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One invocation that is kept; ``moment`` in epoch seconds."""

    event_id: str
    inference_id: str
    moment: float
    request: Side
    answer: Side


class Captured(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One invocation as a line tells it. ``moment`` has whole seconds; ``answer`` is None where only inputs were kept."""

    event_id: str
    inference_id: str
    moment: float
    request: Side
    answer: Side | None


def rule_of(config: Mapping[str, Any] | None) -> CaptureRule | None:
    """Of a ``DataCaptureConfig``; None where nothing is captured."""
    if not config or not config.get("EnableCapture", False):
        return None
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    types = config.get("CaptureContentTypeHeader") or {}
    return CaptureRule(
        destination=config["DestinationS3Uri"].rstrip("/"),
        percent=config["InitialSamplingPercentage"],
        inputs=bool(modes & {"Input", "InputAndOutput"}),
        outputs=bool(modes & {"Output", "InputAndOutput"}),
        csv_types=tuple(one.lower() for one in types.get("CsvContentTypes") or ()),
        json_types=tuple(one.lower() for one in types.get("JsonContentTypes") or ()),
    )


def is_sampled(rule: CaptureRule, draw: float) -> bool:
    """``draw`` is uniform in [0, 1)."""
    return draw * 100 < rule.percent


def capture_line(rule: CaptureRule, seen: Seen) -> bytes:
    """One line of JSON."""
    data: dict[str, Any] = {}
    if rule.inputs:
        data["endpointInput"] = _side(rule, seen.request, "INPUT")
    if rule.outputs:
        data["endpointOutput"] = _side(rule, seen.answer, "OUTPUT")
    metadata = {"eventId": seen.event_id, "inferenceTime": _iso(seen.moment)}
    if seen.inference_id:
        metadata["inferenceId"] = seen.inference_id
    document = {"captureData": data, "eventMetadata": metadata, "eventVersion": _VERSION}
    return json.dumps(document).encode() + b"\n"


def _side(rule: CaptureRule, side: Side, mode: str) -> dict[str, str]:
    kind = side.content_type.partition(";")[0].strip().lower()
    encoding = "CSV" if kind in rule.csv_types else "JSON" if kind in rule.json_types else "BASE64"
    text = ""
    if encoding != "BASE64":
        try:
            text = side.body.decode()
        except UnicodeDecodeError:
            encoding = "BASE64"
    if encoding == "BASE64":
        text = base64.b64encode(side.body).decode()
    return {
        "observedContentType": side.content_type,
        "mode": mode,
        "data": text,
        "encoding": encoding,
    }


def capture_uri(rule: CaptureRule, *, endpoint: str, variant: str, moment: float, name: str) -> str:
    """Where the lines of one hour go: ``<destination>/<endpoint>/<variant>/yyyy/mm/dd/hh/<file>.jsonl``."""
    at = datetime.fromtimestamp(moment, UTC)
    return f"{rule.destination}/{endpoint}/{variant}/{at:%Y/%m/%d/%H}/{at:%M-%S-%f}-{name}.jsonl"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def place_of(key: str) -> tuple[str, str, str] | None:
    """Endpoint, variant and what sorts by time, of an object that ``capture_uri`` named; None for any other."""
    found = _PLACE.search(key)
    return (found[1], found[2], found[3]) if found else None


def read_line(line: bytes) -> Captured | None:
    """What ``capture_line`` wrote; None for a line that is none, or that has no request."""
    try:
        document = json.loads(line)
        data, metadata = document["captureData"], document["eventMetadata"]
        request, answer = data.get("endpointInput"), data.get("endpointOutput")
        if request is None:
            return None
        return Captured(
            event_id=str(metadata["eventId"]),
            inference_id=str(metadata.get("inferenceId", "")),
            moment=datetime.fromisoformat(metadata["inferenceTime"]).timestamp(),
            request=_read_side(request),
            answer=None if answer is None else _read_side(answer),
        )
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None


def _read_side(side: Mapping[str, str]) -> Side:
    text = side["data"]
    is_coded = side["encoding"] == "BASE64"
    body = base64.b64decode(text, validate=True) if is_coded else text.encode()
    return Side(side["observedContentType"], body)
