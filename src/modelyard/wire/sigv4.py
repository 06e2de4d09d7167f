"""AWS Signature Version 4, verified (security.md, section 1).

A verification has two halves, because S3 has to know who sends a body before it reads it:

1. ``Verifier.open_request`` reads the signature from header or query, finds the key, checks clock and scope;
2. ``check`` recomputes the signature with the payload's hash.

On the path of every invocation, so: what repeats from request to request (the first part of the header, the time
stamp, the signing key) is read once and kept in bounded caches. None of them holds a secret's absence or a verdict.
"""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec

from modelyard.base.call import Principal
from modelyard.base.errors import ServiceError
from modelyard.wire import refusals
from modelyard.wire.canonical import (
    ALGORITHM,
    EMPTY_HASH,
    Headers,
    as_sent,
    canonical_request,
    encoded,
    sign,
)
from modelyard.wire.hashing import HmacSha256
from modelyard.wire.keys import KeyEntry, KeyTable, SigningKeys
from modelyard.wire.refusals import Family as Family
from modelyard.wire.refusals import family_of as family_of
from modelyard.wire.refusals import wrong_signature as wrong_signature
from modelyard.wire.sealed import InvalidToken, Seal

UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = (
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
)
SKEW_SECONDS = 300
S3_SKEW_SECONDS = 900
EXPIRES_DEFAULT = 3600
EXPIRES_LIMIT = 604_800
_CREDENTIAL_PARTS = 5
_SIGNATURE_LENGTH = 64
_TIMESTAMP_LENGTH = 16
_CACHED_HEADER_LENGTH = 1024
_PRESIGNED = ("Algorithm", "Credential", "Date", "SignedHeaders", "Signature")


class Signer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one client's signatures of one day have in common."""

    key_id: str
    date: str
    region: str
    service: str
    scope: str
    signed: str
    names: tuple[str, ...]


class Opened(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A request whose signer is known and whose signature is still to be checked."""

    principal: Principal
    signer: Signer
    timestamp: str
    signature: str
    signing_key: HmacSha256
    presigned: bool
    declared_hash: str
    """``x-amz-content-sha256`` as sent; empty where absent."""

    @property
    def region(self) -> str:
        return self.signer.region

    @property
    def scope(self) -> str:
        return self.signer.scope


class _Unreadable(Exception):
    """The text says what is wrong with the signature's form."""


class Verifier:
    """Verifies requests of one process. ``keys`` gives the current table, ``now`` Unix seconds."""

    def __init__(
        self, *, keys: Callable[[], KeyTable], seal: Seal, now: Callable[[], float]
    ) -> None:
        self.keys = keys
        self._seal = seal
        self.now = now
        self.derived = SigningKeys()

    def open_request(
        self, *, family: Family, service: str, raw_query: str, headers: dict[str, str]
    ) -> Opened:
        """Read who signed. ``headers`` are joined by name. Raises ``ServiceError`` (403, or 400 for malformed ones)."""
        authorization = headers.get("authorization")
        presigned = bool(raw_query) and (
            "X-Amz-Signature=" in raw_query or "X-Amz-Credential=" in raw_query
        )
        if authorization is not None:
            if presigned and family == "s3":
                raise ServiceError("InvalidArgument", "Only one auth mechanism allowed")
            return self._from_header(family, service, authorization, headers)
        if presigned:
            return self._from_query(family, service, raw_query, headers)
        if family == "s3" and "AWSAccessKeyId=" in raw_query:
            raise refusals.unsupported(family, _unsupported("AWS"))
        raise refusals.missing(family)

    def _from_header(
        self, family: Family, service: str, authorization: str, headers: dict[str, str]
    ) -> Opened:
        if not authorization.startswith(ALGORITHM + " "):
            raise refusals.unsupported(family, _unsupported(authorization.partition(" ")[0]))
        head, _, tail = authorization.rpartition("Signature=")
        signature, _, rest = tail.partition(",")
        read = _read_cached if len(authorization) < _CACHED_HEADER_LENGTH else _read_credential
        try:
            signer = read(head + rest)
        except _Unreadable as error:
            raise refusals.incomplete(family, str(error)) from None
        timestamp = headers.get("x-amz-date") or _from_http_date(family, headers.get("date"))
        token = headers.get("x-amz-security-token")
        signed_at = _signed_at(family, signer, timestamp, presigned=False)
        self._check_skew(family, timestamp, signed_at)
        return self._open(family, service, signer, signature.strip(), timestamp, token, headers)

    def _from_query(
        self, family: Family, service: str, raw_query: str, headers: dict[str, str]
    ) -> Opened:
        values = _presigned_values(raw_query)
        absent = [f"X-Amz-{name}" for name in _PRESIGNED if not values.get(name)]
        if family == "s3" and "Expires" not in values:
            absent.append("X-Amz-Expires")
        if absent:
            text = f"Query-string authentication version 4 requires {', '.join(absent)}."
            raise refusals.incomplete(family, text, presigned=True)
        if values["Algorithm"] != ALGORITHM:
            text = f"X-Amz-Algorithm only supports {ALGORITHM}."
            raise refusals.incomplete(family, text, presigned=True)
        try:
            expires = _expires(values.get("Expires", str(EXPIRES_DEFAULT)))
            signer = _signer(values["Credential"], values["SignedHeaders"])
        except _Unreadable as error:
            raise refusals.incomplete(family, str(error), presigned=True) from None
        timestamp, signature = values["Date"], values["Signature"]
        signed_at = _signed_at(family, signer, timestamp, presigned=True)
        if self.now() > signed_at + expires:
            text = f"Signature expired: {timestamp} with {expires} seconds is over."
            raise refusals.overdue(family, text)
        if signed_at > self.now():
            self._check_skew(family, timestamp, signed_at)
        token = values.get("Security-Token")
        return self._open(
            family, service, signer, signature, timestamp, token, headers, presigned=True
        )

    def _open(  # noqa: PLR0913 - the parts of a signature, gathered from header or query
        self,
        family: Family,
        service: str,
        signer: Signer,
        signature: str,
        timestamp: str,
        token: str | None,
        headers: dict[str, str],
        *,
        presigned: bool = False,
    ) -> Opened:
        if signer.service != service:
            text = f"Credential should be scoped to correct service: '{service}'."
            raise refusals.wrong_scope(family, text, presigned=presigned)
        _check_signed(family, signer.names, headers, presigned=presigned)
        entry = self.find_key(family, signer.key_id, token)
        return Opened(
            principal=entry.principal,
            signer=signer,
            timestamp=timestamp,
            signature=signature,
            signing_key=self.derived.get(entry.secret, signer.date, signer.region, service),
            presigned=presigned,
            declared_hash=headers.get("x-amz-content-sha256", ""),
        )

    def _check_skew(self, family: Family, timestamp: str, signed_at: float) -> None:
        now = self.now()
        skew = S3_SKEW_SECONDS if family == "s3" else SKEW_SECONDS
        if abs(now - signed_at) <= skew:
            return
        current = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        minutes = skew // 60
        if signed_at < now:
            text = f"Signature expired: {timestamp} is now earlier than {current} - {minutes} min."
        else:
            text = f"Signature not yet current: {timestamp} is still later than {current} + {minutes} min."
        raise refusals.skewed(family, text)

    def find_key(self, family: Family, key_id: str, token: str | None) -> KeyEntry:
        """The key of a long-lived id, or the one that a session token carries. Raises ``ServiceError`` (403)."""
        if token is None:
            entry = self.keys().find(key_id)
            if entry is None:
                raise refusals.unknown_key(family)
            return entry
        try:
            session = self._seal.open(token)
        except InvalidToken:
            raise refusals.invalid_token(family) from None
        if session.access_key_id != key_id:
            raise refusals.invalid_token(family)
        if session.expires_at <= self.now():
            raise refusals.session_expired(family)
        return session.entry


def check(  # noqa: PLR0913 - the parts of a request
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
    signer = opened.signer
    given = opened.signature.encode("utf-8", "replace")
    if len(given) != _SIGNATURE_LENGTH:
        raise wrong_signature(family)
    headers = list(headers)
    first: tuple[str, str] | None = None
    for reading in (as_sent, encoded):
        path, query = reading(raw_path, raw_query, is_s3=family == "s3", presigned=opened.presigned)
        if first == (path, query):
            break
        first = (path, query)
        request = canonical_request(
            method=method,
            path=path,
            query=query,
            headers=headers,
            signed=signer.signed,
            names=signer.names,
            payload_hash=payload_hash,
        )
        if hmac.compare_digest(
            sign(opened.signing_key, opened.timestamp, signer.scope, request), given
        ):
            return
    raise wrong_signature(family)


def s3_payload(opened: Opened) -> str:
    """What S3 has to put into the canonical request for the body that it has not read yet.

    A SHA-256 that the body must turn out to have, ``UNSIGNED`` or one of ``STREAMING``. Raises ``ServiceError``.
    """
    declared = opened.declared_hash
    if opened.presigned and (not declared or "x-amz-content-sha256" not in opened.signer.names):
        return UNSIGNED
    if not declared:
        raise ServiceError(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
        )
    if declared == UNSIGNED or declared in STREAMING or is_sha256(declared):
        return declared
    raise ServiceError(
        "InvalidArgument",
        f"x-amz-content-sha256 must be {UNSIGNED}, {', '.join(STREAMING)}, or a valid sha256 value.",
    )


def is_sha256(text: str) -> bool:
    """Whether the text is a SHA-256 in lower-case hexadecimal digits."""
    return len(text) == len(EMPTY_HASH) and not text.strip("0123456789abcdef")


def _read_credential(text: str) -> Signer:
    """Read an Authorization header without its signature. Raises ``_Unreadable``."""
    parts = {}
    for item in text.partition(" ")[2].split(","):
        name, _, value = item.strip().partition("=")
        parts[name] = value
    for name in ("Credential", "SignedHeaders"):
        if not parts.get(name):
            raise _Unreadable(f"Authorization header requires '{name}' parameter.")
    return _signer(parts["Credential"], parts["SignedHeaders"])


_read_cached = lru_cache(maxsize=1024)(_read_credential)


def _signer(credential: str, signed: str) -> Signer:
    parts = credential.split("/")
    if len(parts) < _CREDENTIAL_PARTS or parts[-1] != "aws4_request":
        raise _Unreadable("Credential must be KEY/DATE/REGION/SERVICE/aws4_request.")
    names = tuple(signed.split(";"))
    if len(set(names)) < len(names):
        raise _Unreadable("SignedHeaders names a header twice.")
    return Signer(
        key_id="/".join(parts[:-4]),
        date=parts[-4],
        region=parts[-3],
        service=parts[-2],
        scope="/".join(parts[-4:]),
        signed=signed,
        names=names,
    )


def _presigned_values(raw_query: str) -> dict[str, str]:
    """The ``X-Amz-…`` parameters, without this prefix."""
    values = {}
    for item in raw_query.split("&"):
        name, _, value = item.partition("=")
        if name.startswith("X-Amz-"):
            decoded = unquote_to_bytes(value.replace("+", " "))
            values[name.removeprefix("X-Amz-")] = decoded.decode("utf-8", "replace")
    return values


def _expires(text: str) -> int:
    if len(text) <= len(str(EXPIRES_LIMIT)) and text.isascii() and text.isdigit():
        seconds = int(text)
        if 1 <= seconds <= EXPIRES_LIMIT:
            return seconds
    raise _Unreadable(f"X-Amz-Expires must be between 1 and {EXPIRES_LIMIT} seconds.")


def _check_signed(
    family: Family, names: tuple[str, ...], headers: dict[str, str], *, presigned: bool
) -> None:
    """``host`` and all ``x-amz-*`` have to be covered, or a proxy could change what the request means."""
    if "host" not in names:
        raise refusals.unsigned_header(family, "host")
    for name in headers:
        if name[:6] == "x-amz-" and name not in names:
            if presigned and name == "x-amz-content-sha256":
                continue  # A presigned request's payload rule does not depend on it.
            raise refusals.unsigned_header(family, name)


def _signed_at(family: Family, signer: Signer, timestamp: str, *, presigned: bool) -> float:
    try:
        signed_at = epoch(timestamp)
    except ValueError:
        text = f"Date must be in ISO-8601 'basic format'. Got {timestamp[:40]!r}."
        raise refusals.incomplete(family, text, presigned=presigned) from None
    if timestamp[:8] != signer.date:
        text = f"Date in Credential scope does not match {timestamp[:8]}, the date of the request."
        raise refusals.wrong_scope(family, text, presigned=presigned)
    return signed_at


@lru_cache(maxsize=256)
def epoch(timestamp: str) -> float:
    """Unix seconds of a signature's time stamp. Raises ``ValueError``."""
    if len(timestamp) != _TIMESTAMP_LENGTH or not timestamp.isascii():
        raise ValueError(timestamp)
    return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _from_http_date(family: Family, value: str | None) -> str:
    if value is None:
        text = (
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
        raise refusals.incomplete(family, text)
    try:
        date = parsedate_to_datetime(value)
        # Without a zone it is UTC: whatever the server's own zone may be.
        date = date.astimezone(UTC) if date.tzinfo else date
    except (ValueError, OverflowError):
        return value  # An ISO date in the Date header, which some clients send.
    return date.strftime("%Y%m%dT%H%M%SZ")


def _unsupported(algorithm: str) -> str:
    return (
        "The authorization mechanism you have provided is not supported. "
        f"Please use {ALGORITHM}, not {algorithm[:40]!r}."
    )
