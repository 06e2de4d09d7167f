"""What the head of an invocation asks for, and what no endpoint takes, whatever its name.

Source of headers and limits: AWS's model of ``sagemaker-runtime`` and hosting.md, section 5.
"""

import functools
import re
from dataclasses import dataclass
from urllib.parse import unquote

from modelyard.base.errors import ServiceError, Unsupported
from modelyard.gateway.heads import Head
from modelyard.transport.frames import RequestMeta, encode_meta

_PATH = re.compile(r"/endpoints/([^/]+)/(invocations|invocations-response-stream)")
STREAM = "InvokeEndpointWithResponseStream"
_OPERATIONS = {
    "invocations": "InvokeEndpoint",
    "invocations-response-stream": STREAM,
}
_PREFIX = "x-amzn-sagemaker-"
_CONTAINER = f"{_PREFIX}target-container-hostname"
_MODEL = f"{_PREFIX}target-model"
_ATTRIBUTES = f"{_PREFIX}custom-attributes"
_HEADER_LIMITS = {
    "content-type": 1024,
    "accept": 1024,
    f"{_PREFIX}accept": 1024,
    _ATTRIBUTES: 1024,
    f"{_PREFIX}target-variant": 63,
    _MODEL: 1024,
    _CONTAINER: 63,
    f"{_PREFIX}inference-id": 64,
}
_REFUSED_HEADERS = {
    f"{_PREFIX}inference-component": "Inference components",
    f"{_PREFIX}session-id": "Sticky sessions",
    f"{_PREFIX}enable-explanations": "Explanations",
}
_WATCHED = frozenset(_HEADER_LIMITS) | frozenset(_REFUSED_HEADERS)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a head asks for: the same bytes ask for the same each time, so it is found out once for each ``Head``."""

    name: str
    operation: str
    action: str
    """As IAM writes the operation."""
    expects: bool
    target_variant: str
    meta: RequestMeta
    encoded: bytes
    """``meta`` as a frame has it."""
    inference_id: str
    container: str
    is_refused: bool
    """No endpoint takes such a request; why is said once it is known who asks."""


@functools.lru_cache(maxsize=4096)
def is_invocation(path: str) -> bool:
    """Whether a path is an invocation that is answered here; asynchronous ones are control's to keep."""
    return _PATH.fullmatch(path) is not None


def _is_refused(head: Head) -> bool:
    try:
        check_head(head)
    except ServiceError:
        return True
    return False


def check_head(head: Head) -> None:
    """Raises ``ServiceError`` for what is wrong with a head, whatever endpoint it names."""
    if head.method != "POST":
        text = "Invocations are sent with POST."
        raise ServiceError("UnknownOperationException", text, status=404)
    for header in _WATCHED.intersection(head.joined):
        _check_header(header, head.joined[header])


def _check_header(header: str, value: str) -> None:
    limit = _HEADER_LIMITS.get(header)
    if limit is not None and len(value) > limit:
        raise ServiceError("ValidationError", f"Header {header} is longer than {limit} characters.")
    if header == _ATTRIBUTES and not (value.isascii() and value.isprintable()):
        raise ServiceError("ValidationError", "CustomAttributes have to be visible ASCII.")
    if header in _REFUSED_HEADERS:
        raise Unsupported(f"{_REFUSED_HEADERS[header]} are not executed by Modelyard yet.")


def are_attributes(text: str) -> bool:
    """Whether what a container answered may go into a header, by AWS's limit; else the caller gets none."""
    return len(text) <= _HEADER_LIMITS[_ATTRIBUTES] and text.isascii() and text.isprintable()


def ask(head: Head) -> Asked:
    """Of an invocation's head."""
    match = _PATH.fullmatch(head.path)
    assert match is not None, "the path decided that this is an invocation"
    headers = head.joined
    operation = _OPERATIONS[match[2]]
    meta = RequestMeta(
        content_type=headers.get("content-type", ""),
        accept=headers.get(f"{_PREFIX}accept" if operation == STREAM else "accept", ""),
        custom_attributes=headers.get(_ATTRIBUTES, ""),
        trace=headers.get("traceparent", ""),
        trace_state=headers.get("tracestate", ""),
        target_model=headers.get(_MODEL, ""),
    )
    return Asked(
        name=unquote(match[1]),
        operation=operation,
        action=f"sagemaker:{operation}",
        expects=headers.get("expect", "").lower() == "100-continue",
        target_variant=headers.get(f"{_PREFIX}target-variant", ""),
        inference_id=headers.get(f"{_PREFIX}inference-id", ""),
        container=headers.get(_CONTAINER, ""),
        is_refused=_is_refused(head),
        meta=meta,
        encoded=encode_meta(meta),
    )
