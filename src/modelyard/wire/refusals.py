"""How each family of services says that it does not accept a signature (security.md, section 2)."""

from dataclasses import dataclass
from typing import Literal

from modelyard.base.errors import ServiceError

Family = Literal["json", "query", "s3"]
FORBIDDEN = 403
BAD_REQUEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codes:
    missing: str
    unknown_key: str
    invalid_token: str
    wrong: str
    scope: str
    skewed: str
    overdue: str
    expired: str
    incomplete: str
    incomplete_query: str
    unsigned: str


_CODES: dict[Family, _Codes] = {
    "json": _Codes(
        missing="MissingAuthenticationTokenException",
        unknown_key="UnrecognizedClientException",
        invalid_token="UnrecognizedClientException",  # noqa: S106 - a code
        wrong="InvalidSignatureException",
        scope="InvalidSignatureException",
        skewed="InvalidSignatureException",
        overdue="InvalidSignatureException",
        expired="ExpiredTokenException",
        incomplete="IncompleteSignatureException",
        incomplete_query="IncompleteSignatureException",
        unsigned="InvalidSignatureException",
    ),
    "query": _Codes(
        missing="MissingAuthenticationToken",
        unknown_key="InvalidClientTokenId",
        invalid_token="InvalidClientTokenId",  # noqa: S106 - a code
        wrong="SignatureDoesNotMatch",
        scope="SignatureDoesNotMatch",
        skewed="SignatureDoesNotMatch",
        overdue="SignatureDoesNotMatch",
        expired="ExpiredToken",
        incomplete="IncompleteSignature",
        incomplete_query="IncompleteSignature",
        unsigned="SignatureDoesNotMatch",
    ),
    "s3": _Codes(
        missing="AccessDenied",
        unknown_key="InvalidAccessKeyId",
        invalid_token="InvalidToken",  # noqa: S106 - a code
        wrong="SignatureDoesNotMatch",
        scope="AuthorizationHeaderMalformed",
        skewed="RequestTimeTooSkewed",
        overdue="AccessDenied",
        expired="ExpiredToken",
        incomplete="AuthorizationHeaderMalformed",
        incomplete_query="AuthorizationQueryParametersError",
        unsigned="AccessDenied",
    ),
}


def family_of(protocol: str) -> Family:
    """How a service of this protocol words its refusals."""
    if protocol == "rest-xml":
        return "s3"
    return "query" if protocol == "query" else "json"


def missing(family: Family) -> ServiceError:
    """Nothing is signed."""
    text = "Access Denied" if family == "s3" else "Missing Authentication Token"
    return ServiceError(_CODES[family].missing, text, status=FORBIDDEN)


def incomplete(family: Family, text: str, *, presigned: bool = False) -> ServiceError:
    """Something is signed in a way that cannot be read."""
    codes = _CODES[family]
    code = codes.incomplete_query if presigned else codes.incomplete
    return ServiceError(code, text, status=BAD_REQUEST)


def unsupported(family: Family, text: str) -> ServiceError:
    """Signed with another algorithm."""
    code = "InvalidRequest" if family == "s3" else _CODES[family].incomplete
    return ServiceError(code, text, status=BAD_REQUEST)


def unknown_key(family: Family) -> ServiceError:
    """No such key, or an inactive one."""
    if family == "s3":
        text = "The AWS Access Key Id you provided does not exist in our records."
    else:
        text = "The security token included in the request is invalid."
    return ServiceError(_CODES[family].unknown_key, text, status=FORBIDDEN)


def invalid_token(family: Family) -> ServiceError:
    """A session token that this platform never gave out."""
    if family == "s3":
        text = "The provided token is malformed or otherwise invalid."
        return ServiceError(_CODES[family].invalid_token, text, status=BAD_REQUEST)
    text = "The security token included in the request is invalid."
    return ServiceError(_CODES[family].invalid_token, text, status=FORBIDDEN)


def session_expired(family: Family) -> ServiceError:
    """A session that is over."""
    return ServiceError(
        _CODES[family].expired,
        "The security token included in the request is expired",
        status=FORBIDDEN if family == "json" else BAD_REQUEST,
    )


def wrong_scope(family: Family, text: str, *, presigned: bool) -> ServiceError:
    """The credential is for another service or day."""
    if family == "s3":
        return incomplete(family, text, presigned=presigned)
    return ServiceError(_CODES[family].scope, text, status=FORBIDDEN)


def skewed(family: Family, text: str) -> ServiceError:
    """Signed too long ago, or in the future."""
    if family == "s3":
        text = "The difference between the request time and the current time is too large."
    return ServiceError(_CODES[family].skewed, text, status=FORBIDDEN)


def overdue(family: Family, text: str) -> ServiceError:
    """A presigned address after its time."""
    text = "Request has expired" if family == "s3" else text
    return ServiceError(_CODES[family].overdue, text, status=FORBIDDEN)


def unsigned_header(family: Family, name: str) -> ServiceError:
    """A header that changes what the request means is not covered by the signature."""
    if family == "s3":
        text = f"There were headers present in the request which were not signed: {name}"
    else:
        text = f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
    return ServiceError(_CODES[family].unsigned, text, status=FORBIDDEN)


def wrong_signature(family: Family) -> ServiceError:
    """The signature is not that of this request and key."""
    return ServiceError(
        _CODES[family].wrong,
        "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method.",
        status=FORBIDDEN,
    )
