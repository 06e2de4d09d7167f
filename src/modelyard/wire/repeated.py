"""What one signer sends again and again in requests of one form, verified without reading the form each time.

A ``Plan`` is made of a request that ``sigv4`` has verified. It says yes to another one, or nothing: then ``sigv4`` reads it
whole, and says why not. Every verification computes the signature of the very request and body.
"""

import hmac
from collections.abc import Collection, Mapping

import msgspec

from modelyard.base.call import Principal
from modelyard.wire.canonical import ALGORITHM, as_sent, canonical_request, is_plain
from modelyard.wire.hashing import sha256_hex
from modelyard.wire.sigv4 import SKEW_SECONDS, UNSIGNED, Opened, Signer, Verifier, epoch

_SIGNATURE = "Signature="
_CHANGES = "authorization"
_HOLE = "\0"


class Plan(msgspec.Struct, frozen=True, gc=False):
    """``canonical`` has holes for the path, for each of ``names``, and for the body's hash."""

    signer: Signer
    target: str
    """As sent; what it is signed as is ``path``."""
    path: str
    authorization: str
    """All of the header before the signature."""
    canonical: str
    names: tuple[str, ...]


def make_plan(
    opened: Opened,
    *,
    method: str,
    target: str,
    headers: Mapping[str, str],
    changing: Collection[str],
) -> Plan | None:
    """Of a verified request; ``headers`` come once each, and all but ``changing`` ones will be what they are.

    None for what is better read whole: presigned addresses, queries, sessions, dates in another header.
    """
    authorization = headers.get(_CHANGES, "")
    before, found, after = authorization.partition(_SIGNATURE)
    is_plain = found and not opened.presigned and "?" not in target and "," not in after
    if not is_plain or "x-amz-security-token" in headers or "x-amz-date" not in headers:
        return None
    path, query = as_sent(target, "", is_s3=False, presigned=False)
    names = tuple(name for name in opened.signer.names if name in changing)
    text = canonical_request(
        method=method,
        path=_HOLE,
        query=query,
        headers=[(name, _HOLE if name in names else value) for name, value in headers.items()],
        signed=opened.signer.signed,
        names=opened.signer.names,
        payload_hash=_HOLE,
    )
    if text.count(_HOLE) != len(names) + 2:
        return None  # Somebody's header has one of its own.
    template = text.replace("%", "%%").replace(_HOLE, "%s")
    return Plan(opened.signer, target, path, before, template, names)


class Repeated:
    """Verifies by plans. ``now`` is Unix seconds; keys and clock are those of the verifier that reads whole requests."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def recognise(
        self, plan: Plan, target: str, headers: Mapping[str, str], body: bytes
    ) -> Principal | None:
        """Who signed this request and body; None where nothing can be said."""
        path = plan.path if target == plan.target else target
        if path is target and not is_plain(target):
            return None
        signer, verifier = plan.signer, self._verifier
        before, _, signature = headers[_CHANGES].partition(_SIGNATURE)
        timestamp = headers["x-amz-date"]
        if before != plan.authorization or timestamp[:8] != signer.date:
            return None
        try:
            signed_at = epoch(timestamp)
        except ValueError:
            return None
        entry = verifier.keys().find(signer.key_id)
        if entry is None or abs(verifier.now() - signed_at) > SKEW_SECONDS:
            return None
        digest = sha256_hex(body)
        declared = headers.get("x-amz-content-sha256", "")
        if declared and declared not in (digest, UNSIGNED):
            return None
        key = verifier.derived.get(entry.secret, signer.date, signer.region, signer.service)
        canonical = plan.canonical % (path, *[headers[name] for name in plan.names], digest)
        text = f"{ALGORITHM}\n{timestamp}\n{signer.scope}\n{sha256_hex(canonical.encode())}"
        if not hmac.compare_digest(key.hexdigest(text.encode()), signature):
            return None
        return entry.principal
