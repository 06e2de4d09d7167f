"""AWS's own vectors of Signature Version 4, as botocore's source distribution carries them."""

import calendar
import hashlib
import importlib.util
from pathlib import Path

import pytest

from modelyard.base.call import Principal
from modelyard.wire import canonical, keys, sealed, sigv4

_spec = importlib.util.spec_from_file_location(
    "botocore_source", Path(__file__).with_name("botocore_source.py")
)
assert _spec is not None and _spec.loader is not None
botocore_source = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(botocore_source)

SUITE = botocore_source.folder() / "auth" / "aws4_testsuite"
NOW = calendar.timegm((2015, 8, 30, 12, 36, 0))
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
WHO = Principal(kind="root", arn="arn:aws:iam::123456789012:root", id="1", account="1")
KEYS = keys.KeyTable({"AKIDEXAMPLE": keys.KeyEntry(secret=SECRET, principal=WHO)})
NOT_ON_THE_WIRE = {
    # A line that continues the one before: obsolete since RFC 7230, and no HTTP parser of ours accepts it.
    "get-header-value-multiline",
}
Parsed = tuple[str, str, list[tuple[str, str]], bytes]


def _requests(suffix: str) -> list[Path]:
    return [path for path in sorted(SUITE.rglob(f"*{suffix}")) if path.stem not in NOT_ON_THE_WIRE]


def _parse(path: Path) -> Parsed:
    head, _, body = path.read_text().partition("\n\n")
    start, *lines = head.splitlines()
    method, _, target = start.removesuffix(" HTTP/1.1").partition(" ")
    pairs = (line.partition(":") for line in lines)
    return method, target, [(name.lower(), value) for name, _, value in pairs], body.encode()


@pytest.mark.parametrize("path", _requests(".creq"), ids=lambda path: path.stem)
def test_the_canonical_request_is_the_vectors(path: Path) -> None:
    expected = path.read_text()
    method, target, headers, body = _parse(path.with_suffix(".sreq"))
    raw_path, _, raw_query = target.partition("?")
    signed, payload_hash = expected.splitlines()[-2:]
    found = []
    for reading in (canonical.as_sent, canonical.encoded):
        canonical_path, query = reading(raw_path, raw_query, is_s3=False, presigned=False)
        text = canonical.canonical_request(
            method=method,
            path=canonical_path,
            query=query,
            headers=headers,
            signed=signed,
            names=signed.split(";"),
            payload_hash=hashlib.sha256(body).hexdigest(),
        )
        found.append(text)
    assert expected in found
    assert payload_hash == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("path", _requests(".sreq"), ids=lambda path: path.stem)
def test_the_signature_of_each_vector_is_accepted(path: Path) -> None:
    method, target, headers, body = _parse(path)
    raw_path, _, raw_query = target.partition("?")
    # The vectors' session token is another platform's; what its request signs is like any other.
    joined = {name: value.strip() for name, value in headers if name != "x-amz-security-token"}
    # One vector's signed request has another signature than the vector itself says.
    joined["authorization"] = path.with_suffix(".authz").read_text().strip()
    verifier = sigv4.Verifier(
        keys=lambda: KEYS, seal=sealed.Seal(bytes(32)), now=lambda: float(NOW)
    )
    opened = verifier.open_request(
        family="json", service="service", raw_query=raw_query, headers=joined
    )
    assert opened.principal is WHO
    sigv4.check(
        opened,
        family="json",
        method=method,
        raw_path=raw_path,
        raw_query=raw_query,
        headers=headers,
        payload_hash=hashlib.sha256(body).hexdigest(),
    )
