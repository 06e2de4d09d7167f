"""AWS Signature Version 4, verified (security.md, section 1; AWS's documentation of the canonical request).

A verification has two halves, because S3 has to know who sends a body before it reads it:

1. ``open_request`` reads the signature from header or query, finds the key, checks clock and scope;
2. ``check`` recomputes the signature with the payload's hash.

Every failure has the code that the service's family answers with (``FAMILIES``); all say no more than they must.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from modelyard.base.call import Principal
from modelyard.base.errors import ServiceError
from modelyard.wire.keys import KeyEntry, KeyTable, SigningKeys
from modelyard.wire.sealed import InvalidToken, Seal

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW_SECONDS = 300
S3_SKEW_SECONDS = 900
EXPIRES_LIMIT = 604_800
_UNRESERVED = "-_.~"
_SCOPE_PARTS = 5
_SIGNATURE_LENGTH = 64

Family = Literal["json", "query", "s3"]
Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codes:
    missing: str
    unknown_key: str
    wrong: str
    skewed: str
    expired: str
    incomplete: str


FAMILIES: dict[Family, _Codes] = {
    "json": _Codes(
        missing="MissingAuthenticationTokenException",
        unknown_key="UnrecognizedClientException",
        wrong="InvalidSignatureException",
        skewed="InvalidSignatureException",
        expired="ExpiredTokenException",
        incomplete="IncompleteSignatureException",
    ),
    "query": _Codes(
        missing="MissingAuthenticationToken",
        unknown_key="InvalidClientTokenId",
        wrong="SignatureDoesNotMatch",
        skewed="SignatureDoesNotMatch",
        expired="ExpiredToken",
        incomplete="IncompleteSignature",
    ),
    "s3": _Codes(
        missing="AccessDenied",
        unknown_key="InvalidAccessKeyId",
        wrong="SignatureDoesNotMatch",
        skewed="RequestTimeTooSkewed",
        expired="ExpiredToken",
        incomplete="AuthorizationHeaderMalformed",
    ),
}


def family_of(protocol: str) -> Family:
    """How a service of this protocol words its refusals."""
    if protocol == "rest-xml":
        return "s3"
    return "query" if protocol == "query" else "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A request whose signer is known and whose signature is still to be checked."""

    principal: Principal
    region: str
    date: str
    timestamp: str
    scope: str
    signature: str
    signing_key: bytes
    signed_headers: tuple[str, ...]
    presigned: bool
    declared_hash: str
    """``x-amz-content-sha256`` as sent; empty where absent."""


class Verifier:
    """Verifies requests of one process. ``keys`` gives the current table, ``now`` Unix seconds."""

    def __init__(
        self, *, keys: Callable[[], KeyTable], seal: Seal, now: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._seal = seal
        self._now = now
        self._derived = SigningKeys()

    def open_request(
        self, *, family: Family, service: str, raw_query: str, headers: dict[str, str]
    ) -> Opened:
        """Read who signed. ``headers`` are joined by name. Raises ``ServiceError`` (403, or 400 for malformed ones)."""
        authorization = headers.get("authorization")
        if authorization is not None:
            return self._from_header(FAMILIES[family], family, service, authorization, headers)
        if "X-Amz-Signature=" in raw_query or "X-Amz-Credential=" in raw_query:
            return self._from_query(FAMILIES[family], family, service, raw_query, headers)
        if family == "s3" and "Signature=" in raw_query:
            raise ServiceError(
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            )
        raise ServiceError(
            FAMILIES[family].missing,
            "Access Denied" if family == "s3" else "Missing Authentication Token",
            status=403,
        )

    def _from_header(
        self,
        codes: _Codes,
        family: Family,
        service: str,
        authorization: str,
        headers: dict[str, str],
    ) -> Opened:
        algorithm, _, rest = authorization.partition(" ")
        if algorithm != ALGORITHM:
            raise _malformed(codes, f"Authorization has to be {ALGORITHM}, not {algorithm[:40]!r}.")
        parts: dict[str, str] = {}
        for item in rest.split(","):
            name, equals, value = item.strip().partition("=")
            if equals:
                parts[name] = value
        for name in ("Credential", "SignedHeaders", "Signature"):
            if not parts.get(name):
                raise _malformed(codes, f"Authorization header requires '{name}' parameter.")
        timestamp = headers.get("x-amz-date") or _from_http_date(codes, headers.get("date"))
        return self._open(
            codes,
            family,
            service,
            credential=parts["Credential"],
            signed=parts["SignedHeaders"],
            signature=parts["Signature"],
            timestamp=timestamp,
            token=headers.get("x-amz-security-token"),
            expires=None,
            headers=headers,
        )

    def _from_query(
        self, codes: _Codes, family: Family, service: str, raw_query: str, headers: dict[str, str]
    ) -> Opened:
        values = dict(_query_pairs(raw_query))
        needed = (
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
        )
        absent = [name for name in needed if not values.get(name)]
        code = "AuthorizationQueryParametersError" if family == "s3" else codes.incomplete
        if absent:
            raise ServiceError(code, f"Query-string authentication requires {', '.join(absent)}.")
        if values["X-Amz-Algorithm"] != ALGORITHM:
            raise ServiceError(code, f"X-Amz-Algorithm only supports {ALGORITHM}.")
        text = values.get("X-Amz-Expires", "3600")
        if not text.isdigit() or not 1 <= int(text) <= EXPIRES_LIMIT:
            raise ServiceError(
                code, f"X-Amz-Expires must be between 1 and {EXPIRES_LIMIT} seconds."
            )
        return self._open(
            codes,
            family,
            service,
            credential=values["X-Amz-Credential"],
            signed=values["X-Amz-SignedHeaders"],
            signature=values["X-Amz-Signature"],
            timestamp=values["X-Amz-Date"],
            token=values.get("X-Amz-Security-Token"),
            expires=int(text),
            headers=headers,
        )

    def _open(  # noqa: PLR0913 - the parts of a signature, gathered from header or query
        self,
        codes: _Codes,
        family: Family,
        service: str,
        *,
        credential: str,
        signed: str,
        signature: str,
        timestamp: str,
        token: str | None,
        expires: int | None,
        headers: dict[str, str],
    ) -> Opened:
        scope = credential.split("/")
        if len(scope) < _SCOPE_PARTS or scope[-1] != "aws4_request":
            raise _malformed(
                codes, "The credential's scope is not KEY/DATE/REGION/SERVICE/aws4_request."
            )
        key_id = "/".join(scope[:-4])
        date, region, scope_service = scope[-4], scope[-3], scope[-2]
        if scope_service != service:
            raise _malformed(codes, f"Credential should be scoped to correct service: '{service}'.")
        if timestamp[:8] != date:
            raise _malformed(
                codes, f"Credential's date {date} is not the request's, {timestamp[:8]}."
            )
        self._check_time(codes, family, timestamp, expires)
        signed_headers = tuple(signed.split(";"))
        _check_signed(codes, signed_headers, headers, presigned=expires is not None)
        entry = self._find(codes, key_id, token)
        return Opened(
            principal=entry.principal,
            region=region,
            date=date,
            timestamp=timestamp,
            scope="/".join(scope[-4:]),
            signature=signature,
            signing_key=self._derived.get(entry.secret, date, region, service),
            signed_headers=signed_headers,
            presigned=expires is not None,
            declared_hash=headers.get("x-amz-content-sha256", ""),
        )

    def _check_time(
        self, codes: _Codes, family: Family, timestamp: str, expires: int | None
    ) -> None:
        try:
            signed_at = _epoch(timestamp)
        except ValueError:
            raise _malformed(
                codes, f"Date must be in ISO-8601 'basic format'. Got {timestamp[:40]!r}."
            ) from None
        now = self._now()
        skew = S3_SKEW_SECONDS if family == "s3" else SKEW_SECONDS
        if expires is not None:
            if now > signed_at + expires:
                code = "AccessDenied" if family == "s3" else codes.skewed
                raise ServiceError(code, "Request has expired.", status=403)
            if signed_at - now <= skew:
                return
        elif abs(now - signed_at) <= skew:
            return
        current = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        if family == "s3":
            text = "The difference between the request time and the current time is too large."
        elif signed_at < now:
            text = (
                f"Signature expired: {timestamp} is now earlier than {current} - {skew // 60} min."
            )
        else:
            text = f"Signature not yet current: {timestamp} is still later than {current} + {skew // 60} min."
        raise ServiceError(codes.skewed, text, status=403)

    def _find(self, codes: _Codes, key_id: str, token: str | None) -> KeyEntry:
        if token is None:
            entry = self._keys().find(key_id)
            if entry is None:
                raise _unknown(codes)
            return entry
        try:
            session = self._seal.open(token)
        except InvalidToken:
            raise _unknown(codes) from None
        if session.access_key_id != key_id:
            raise _unknown(codes)
        if session.expires_at <= self._now():
            status = 400 if codes.expired == "ExpiredToken" else 403
            raise ServiceError(
                codes.expired,
                "The security token included in the request is expired",
                status=status,
            )
        return session.entry


def _malformed(codes: _Codes, text: str) -> ServiceError:
    return ServiceError(codes.incomplete, text, status=400)


def _unknown(codes: _Codes) -> ServiceError:
    return ServiceError(
        codes.unknown_key, "The security token included in the request is invalid.", status=403
    )


def _check_signed(
    codes: _Codes, signed: tuple[str, ...], headers: dict[str, str], *, presigned: bool
) -> None:
    """``host`` and all ``x-amz-*`` have to be covered, or a proxy could change what the request means."""
    if "host" not in signed:
        raise _malformed(codes, "'Host' must be a 'SignedHeader' in the Authorization.")
    for name in headers:
        # A presigned request's payload hash is fixed by the rule for presigned ones.
        if (
            name.startswith("x-amz-")
            and name not in signed
            and not (presigned and name == "x-amz-content-sha256")
        ):
            raise ServiceError(
                codes.missing if codes.missing == "AccessDenied" else codes.wrong,
                f"There were headers present in the request which were not signed: {name}",
                status=403,
            )


def check(  # noqa: PLR0913 - the parts of a request, all of which are signed
    opened: Opened,
    *,
    family: Family,
    method: str,
    raw_path: str,
    raw_query: str,
    headers: Headers,
    payload_hash: str,
) -> None:
    """Raises the family's wrong-signature error unless the signature is that of this request."""
    request = canonical_request(
        method=method,
        path=_canonical_path(raw_path, is_s3=family == "s3"),
        raw_query=raw_query,
        headers=headers,
        signed=opened.signed_headers,
        payload_hash=payload_hash,
    )
    expected = sign(opened.signing_key, opened.timestamp, opened.scope, request)
    given = opened.signature
    if len(given) != _SIGNATURE_LENGTH or not hmac.compare_digest(
        expected, given.encode("utf-8", "replace")
    ):
        raise wrong_signature(family)


def wrong_signature(family: Family) -> ServiceError:
    return ServiceError(
        FAMILIES[family].wrong,
        "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method.",
        status=403,
    )


def sign(key: bytes, timestamp: str, scope: str, canonical: str) -> bytes:
    """The 64 hexadecimal digits of a canonical request's signature."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode(), hashlib.sha256).hex().encode()


def canonical_request(
    *,
    method: str,
    path: str,
    raw_query: str,
    headers: Headers,
    signed: tuple[str, ...],
    payload_hash: str,
) -> str:
    values: dict[str, str] = {}
    for name, value in headers:
        if name in signed:
            folded = " ".join(value.split()) if "  " in value or "\t" in value else value.strip()
            values[name] = f"{values[name]},{folded}" if name in values else folded
    lines = [f"{name}:{values.get(name, '')}" for name in signed]
    query = _canonical_query(raw_query) if raw_query else ""
    return "\n".join((method, path, query, *lines, "", ";".join(signed), payload_hash))


def _canonical_path(raw_path: str, *, is_s3: bool) -> str:
    if raw_path == "/":
        return "/"
    if is_s3:  # Encoded once and not normalised: "a//b" and "a/../b" are keys of their own.
        return quote(unquote_to_bytes(raw_path), safe="/" + _UNRESERVED)
    segments: list[str] = []
    for segment in raw_path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    normal = "/" + "/".join(segments) + ("/" if raw_path.endswith("/") and segments else "")
    return quote(normal, safe="/" + _UNRESERVED)


def _query_pairs(raw_query: str) -> list[tuple[str, str]]:
    pairs = []
    for item in raw_query.split("&"):
        if item:
            name, _, value = item.partition("=")
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "surrogateescape")


def _canonical_query(raw_query: str) -> str:
    encoded = []
    for item in raw_query.split("&"):
        if not item:
            continue
        name, _, value = item.partition("=")
        if name == "X-Amz-Signature":
            continue
        encoded.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe=_UNRESERVED)


def _epoch(timestamp: str) -> float:
    return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _from_http_date(codes: _Codes, value: str | None) -> str:
    if value is None:
        raise _malformed(
            codes, "Authorization header requires existence of 'X-Amz-Date' or 'Date' header."
        )
    try:
        return parsedate_to_datetime(value).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except ValueError:
        return value  # An ISO date in the Date header, which some clients send.
