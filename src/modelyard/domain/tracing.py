"""Traces: whose a request is (W3C Trace Context), whether it is sampled, and what a span says. Pure.

Ids are lower-case hexadecimal, 32 digits of a trace and 16 of a span; times are nanoseconds since the Unix epoch.
"""

import re
from typing import Literal

import msgspec

SERVER, INTERNAL = 2, 1
"""Kinds of spans, by OTLP's numbers."""
SAMPLED = 1
SOCKET = "traces"
STATE_LIMIT = 512
"""Characters of a ``tracestate`` that are handed on; a longer one is dropped, as the recommendation allows."""
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ROOT_BITS = 64
Sampling = Literal["on", "off", "ratio"]
Value = str | bool | int | float


class Parent(msgspec.Struct, frozen=True, gc=False):
    """The caller's span, as its headers name it."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A moment within a span."""

    name: str
    at: int


class Span(msgspec.Struct, frozen=True, array_like=True):
    """One piece of work that has ended. ``process`` is who did it: ``gateway-1``, ``control``, a worker's id."""

    trace_id: str
    span_id: str
    parent_id: str
    state: str
    name: str
    kind: int
    begin: int
    end: int
    process: str
    attributes: dict[str, Value] = {}
    events: list[Event] = []
    error: str | None = None
    """What went wrong, for a reader; None: nothing did."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """A gateway's datagram to control: spans, and how many it had no room for since the last."""

    spans: list[Span]
    dropped: int


encode_told = msgspec.msgpack.Encoder().encode
decode_told = msgspec.msgpack.Decoder(Told).decode


def read_parent(traceparent: str, tracestate: str = "") -> Parent | None:
    """None where there is none, or one that breaks the recommendation's rules: the trace begins anew."""
    match = _PARENT.fullmatch(traceparent.strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    is_zero = not trace_id.strip("0") or not span_id.strip("0")
    if is_zero or version == "ff" or (version == "00" and more):
        return None
    state = tracestate if len(tracestate) <= STATE_LIMIT else ""
    return Parent(trace_id, span_id, bool(int(flags, 16) & SAMPLED), state)


def write_parent(trace_id: str, span_id: str) -> str:
    """The header that names a sampled span as its reader's parent."""
    return f"00-{trace_id}-{span_id}-01"


class Sampler:
    """Decides for a whole trace: the same trace gets the same answer from every process, and from other makers' samplers."""

    def __init__(self, name: str, ratio: float) -> None:
        self._heeds_parent = name.startswith("parentbased_")
        root = name.removeprefix("parentbased_")
        share = {"always_on": 1.0, "always_off": 0.0}.get(root, ratio)
        self._bound = round(share * (1 << _ROOT_BITS))

    def takes(self, trace_id: str, parent: Parent | None) -> bool:
        """Whether this trace is recorded."""
        if parent is not None and self._heeds_parent:
            return parent.is_sampled
        return int(trace_id[-16:], 16) < self._bound
