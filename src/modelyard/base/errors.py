"""The errors that reach a caller.

::

    ServiceError            code, message, status, fault, retryable, members
    ├── ValidationError     the request breaks a rule (400)
    └── Unsupported         an operation or member that is not executed (501)

Domain and service code raises them; only ``wire`` turns one into bytes. Any other exception that reaches
the server is a bug and becomes ``InternalFailure`` with a request id and one logged traceback.
"""

from collections.abc import Mapping
from typing import Any, Literal

Fault = Literal["client", "server"]
_FIRST_SERVER_STATUS = 500


class ServiceError(Exception):
    """An error as AWS's services answer it.

    ``code`` is what clients see as ``error.response["Error"]["Code"]``; ``members`` are further members of
    a modelled error shape (``OriginalStatusCode`` of ``ModelError``); ``headers`` go to the HTTP answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members: Mapping[str, Any] = members or {}
        self.headers: Mapping[str, str] = headers or {}

    @property
    def fault(self) -> Fault:
        """Who has to change something for a repeat to succeed."""
        return "server" if self.status >= _FIRST_SERVER_STATUS else "client"

    @property
    def retryable(self) -> bool:
        """Whether AWS's clients repeat the request by themselves (their *standard* mode)."""
        return self.status in (429, 500, 502, 503, 504)


class ValidationError(ServiceError):
    """``ValidationException``: the request breaks a rule that its shape alone does not show."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


class Unsupported(ServiceError):
    """``UnsupportedOperation`` (501): refused loudly, because Modelyard would not execute it."""

    def __init__(self, message: str) -> None:
        super().__init__("UnsupportedOperation", message, status=501)
