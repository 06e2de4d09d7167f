"""``/_modelyard/metrics`` for Prometheus, which cannot sign as AWS's clients do: an access key as user name and password."""

import base64
import binascii
import hmac
from collections.abc import Callable

from modelyard.base.errors import ServiceError
from modelyard.server.app import Request
from modelyard.wire.keys import KeyTable

PATH = "/_modelyard/metrics"
_SCHEME = "basic "


class Scraping:
    """Answers the page to the account's root: by basic authentication, or signed as any call."""

    def __init__(
        self,
        *,
        page: Callable[[], str],
        keys: Callable[[], KeyTable],
        require_root: Callable[[Request], None],
    ) -> None:
        self._page = page
        self._keys = keys
        self._require_root = require_root

    async def __call__(self, request: Request) -> str:
        header = request.mapping().get("authorization", "")
        if header.lower().startswith(_SCHEME):
            self._check(header[len(_SCHEME) :])
        else:
            self._require_root(request)
        return self._page()

    def _check(self, encoded: str) -> None:
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _denied() from None
        entry = self._keys().find(name)
        # Compared with something in any case, so that the time does not tell whether there is such a key.
        expected = entry.secret if entry is not None else ""
        is_right = hmac.compare_digest(expected.encode(), secret.encode())
        if entry is None or not is_right or entry.principal.kind != "root":
            raise _denied()


def _denied() -> ServiceError:
    return ServiceError(
        "AccessDeniedException",
        "Give an access key of the account's root as user name, and its secret as password.",
        status=401,
        headers={"www-authenticate": 'Basic realm="modelyard"'},
    )
