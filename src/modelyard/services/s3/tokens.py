"""Continuation tokens: where a page ended, as something that no client reads."""

import base64
import binascii

from modelyard.base.errors import ServiceError


def token(after: str) -> str:
    """Of the name that a page ended with."""
    return base64.urlsafe_b64encode(after.encode()).decode()


def from_token(given: str) -> str:
    """Raises ``InvalidArgument`` for what is no token, the empty one included."""
    try:
        if not given:
            raise ValueError(given)
        return base64.b64decode(given, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ServiceError(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            members={"ArgumentName": "continuation-token"},
        ) from error
