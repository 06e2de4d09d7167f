"""What an invocation's answers look like as HTTP: header lines, types, errors.

Source of headers, codes and texts: AWS's model of ``sagemaker-runtime`` and hosting.md, section 5.
"""

import functools
import json

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute
from modelyard.gateway.asked import are_attributes
from modelyard.transport.frames import decode_answer_meta

TYPE_LIMIT = 1024
_MESSAGE_LIMIT = 4096
_SERVER_ERROR = 500


def answer_lines(outcome: Final, variant: str, request: str) -> bytes:
    """The header lines of a container's answer."""
    lines = b"%bx-amzn-RequestId: %b\r\n" % (
        _lines(outcome.content_type, variant),
        request.encode(),
    )
    attributes = outcome.custom_attributes
    if attributes and are_attributes(attributes):
        lines += b"X-Amzn-SageMaker-Custom-Attributes: %b\r\n" % attributes.encode("ascii")
    return lines


def common_lines(variant: str, meta: bytes) -> bytes | None:
    """How a variant's successful answers with this meta begin, up to the request's id; None where there is more to say."""
    answer = decode_answer_meta(meta)
    if answer.custom_attributes:
        return None
    return b"HTTP/1.1 200 OK\r\n%bx-amzn-RequestId: " % _lines(answer.content_type, variant)


def stream_lines(content_type: str, attributes: str, variant: str, request: str) -> bytes:
    """The same of an answer that comes in parts."""
    lines = (
        f"X-Amzn-SageMaker-Content-Type: {shown_type(content_type)}\r\n"
        f"x-Amzn-Invoked-Production-Variant: {variant}\r\n"
        f"x-amzn-RequestId: {request}\r\n"
    )
    if attributes and are_attributes(attributes):
        lines += f"X-Amzn-SageMaker-Custom-Attributes: {attributes}\r\n"
    return lines.encode("ascii")


@functools.lru_cache(maxsize=4096)
def _lines(content_type: str, variant: str) -> bytes:
    """Those that the answers of one variant share."""
    shown = shown_type(content_type)
    return f"Content-Type: {shown}\r\nx-Amzn-Invoked-Production-Variant: {variant}\r\n".encode(
        "ascii"
    )


def shown_type(content_type: str) -> str:
    """A model's word for its answer, which may be any text: what is no header line would end it, and begin another."""
    is_one = content_type.isascii() and content_type.isprintable()
    return (
        content_type if is_one and len(content_type) <= TYPE_LIMIT else "application/octet-stream"
    )


def model_error(outcome: Final, endpoint: EndpointRoute) -> ServiceError:
    """What a caller gets of a container's own error."""
    message = outcome.body[:_MESSAGE_LIMIT].decode("utf-8", "replace")
    side = "server" if outcome.status >= _SERVER_ERROR else "client"
    error = ServiceError(
        "ModelError",
        f'Received {side} error ({outcome.status}) from {outcome.container} with message "{message}". '
        f"See log group {endpoint.log_group} in account {endpoint.account} for more information "
        f"(modelyard logs {endpoint.name}).",
        status=424,
        members={"OriginalStatusCode": outcome.status, "OriginalMessage": message},
    )
    return with_log(error, endpoint)


def too_long(outcome: Final, endpoint: EndpointRoute) -> ServiceError:
    """Of an answer over the limit."""
    text = f"The answer has {len(outcome.body)} bytes, more than the limit."
    return model_error(Final(500, "text/plain", text.encode(), outcome.container), endpoint)


def with_log(error: ServiceError, endpoint: EndpointRoute | None) -> ServiceError:
    """A model's error names its log; a time-out is the dispatcher's, which knows no logs."""
    if error.code == "ModelError" and endpoint is not None:
        arn = f"arn:aws:logs:{endpoint.region}:{endpoint.account}:log-group:{endpoint.log_group}"
        error.members = {**error.members, "LogStreamArn": arn}
    return error


def error_answer(error: ServiceError, request: str) -> tuple[bytes, bytes]:
    """Header lines and body of a rest-json error."""
    headers = (
        "Content-Type: application/json\r\n"
        f"x-amzn-errortype: {error.code}\r\n"
        f"x-amzn-RequestId: {request}\r\n"
    )
    document = {"message": error.message, "Message": error.message, **error.members}
    return headers.encode("latin-1"), json.dumps(document).encode()
