"""Signature Version 2 in S3's presigned URLs: what boto3 still writes by default for them. Nothing else is accepted in it.

    ?AWSAccessKeyId=AKIA…&Expires=<Unix seconds>&Signature=<base64 HMAC-SHA1>

Source: AWS's "Signing and authenticating REST requests (AWS signature version 2)"; botocore's ``HmacV1QueryAuth``.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from modelyard.base.errors import ServiceError
from modelyard.wire.keys import KeyEntry

_RESOURCES = frozenset(
    (
        "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle",
        "location", "logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication",
        "requestPayment", "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-language", "response-content-type", "response-expires", "restore", "select",
        "select-type", "storageClass", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions",
        "website",
    )
)  # fmt: skip
"""Query parameters that are part of what is signed."""
_EXPIRES_DIGITS = 12


def is_presigned(raw_query: str) -> bool:
    """Whether a query carries a signature of this version."""
    return "AWSAccessKeyId=" in raw_query and "Signature=" in raw_query


def key_of(raw_query: str) -> tuple[str, str | None]:
    """Access key id and session token of a presigned query."""
    values = dict(parse_qsl(raw_query))
    return values.get("AWSAccessKeyId", ""), values.get("x-amz-security-token")


def check(
    entry: KeyEntry,
    *,
    method: str,
    resource: str,
    raw_query: str,
    headers: Mapping[str, str],
    now: float,
) -> None:
    """Raises ``AccessDenied`` for an expired URL, ``SignatureDoesNotMatch`` for a changed one.

    ``resource`` is the raw path with the bucket, also where the bucket came in the host.
    """
    values = dict(parse_qsl(raw_query, keep_blank_values=True))
    expires = values.get("Expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= _EXPIRES_DIGITS):
        raise ServiceError(
            "AccessDenied", "Query-string authentication requires Expires.", status=403
        )
    if now > int(expires):
        raise ServiceError("AccessDenied", "Request has expired", status=403)
    # What a client signed as headers travels in the query of a presigned URL.
    signed = {name.lower(): value for name, value in values.items()} | dict(headers)
    amazon = sorted(
        (name, value)
        for name, value in signed.items()
        if name.startswith("x-amz-") and name != "x-amz-date"
    )
    text = "\n".join(
        (
            method,
            signed.get("content-md5", ""),
            signed.get("content-type", ""),
            expires,
            *(f"{name}:{value.strip()}" for name, value in amazon),
            resource + _subresources(raw_query),
        )
    )
    expected = hmac.digest(entry.secret.encode(), text.encode(), hashlib.sha1)
    try:
        given = base64.b64decode(values.get("Signature", ""), validate=True)
    except (ValueError, binascii.Error):
        given = b""
    if not hmac.compare_digest(expected, given):
        raise ServiceError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            status=403,
        )


def _subresources(raw_query: str) -> str:
    pairs = [
        item.split("=", 1) for item in raw_query.split("&") if item.split("=", 1)[0] in _RESOURCES
    ]
    joined = "&".join(
        "=".join([pair[0], *(unquote(part) for part in pair[1:])]) for pair in sorted(pairs)
    )
    return f"?{joined}" if joined else ""
