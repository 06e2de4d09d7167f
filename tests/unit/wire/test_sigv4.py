"""What botocore signs is accepted; any part of it changed is refused; each refusal has its family's code."""

import calendar
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.base.call import Principal
from modelyard.base.errors import ServiceError
from modelyard.wire import sigv4
from modelyard.wire.keys import KeyEntry, KeyTable
from modelyard.wire.sealed import Seal, Session

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1", access_key_id=KEY)
ROLE = Principal(kind="role", arn="arn:aws:sts::1:assumed-role/R/s", id="AROA:s", account="1")
HOST = "127.0.0.1:8650"
SEAL = Seal(bytes(32))
SESSION_KEY, SESSION_SECRET = "ASIAIOSFODNN7EXAMPLE", "session-secret"
SERVICES: dict[sigv4.Family, str] = {"json": "sagemaker", "query": "sts", "s3": "s3"}
FAMILIES = list(SERVICES)
STREAM = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request on the wire, and when it was signed."""

    family: sigv4.Family
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    now: float

    def header(self, name: str, value: str | None) -> "Sent":
        """With this header instead (None: without it)."""
        kept = tuple(pair for pair in self.headers if pair[0] != name)
        return replace(self, headers=kept if value is None else (*kept, (name, value)))

    def value(self, name: str) -> str:
        return dict(self.headers)[name]


class Keys:
    """The published table, which changes while a verifier lives."""

    def __init__(self) -> None:
        self.table = KeyTable({KEY: KeyEntry(secret=SECRET, principal=ROOT)})


def signed(
    family: sigv4.Family = "json",
    *,
    method: str = "POST",
    target: str = "/endpoints/churn/invocations",
    headers: dict[str, str] | None = None,
    body: bytes = b"1,2,3",
    region: str = "us-east-1",
    service: str = "",
    credentials: Credentials | None = None,
    presigned: int = 0,
    scheme: str = "http",
) -> Sent:
    """Signed by botocore."""
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): botocore.auth.SigV4Auth,
        (True, False): botocore.auth.S3SigV4Auth,
        (False, True): botocore.auth.SigV4QueryAuth,
        (True, True): botocore.auth.S3SigV4QueryAuth,
    }
    credentials = credentials or Credentials(KEY, SECRET)
    more = {"expires": presigned} if presigned else {}
    auth = kinds[family == "s3", bool(presigned)](
        credentials, service or SERVICES[family], region, **more
    )
    base = f"{scheme}://{HOST}"
    body = b"" if presigned else body  # botocore would move it into the query.
    request = AWSRequest(method, base + target, headers={"Host": HOST} | (headers or {}), data=body)
    auth.add_auth(request)
    target = request.url.removeprefix(base)
    sent = tuple((name.lower(), str(value)) for name, value in request.headers.items())
    stamp = dict(sent).get("x-amz-date") or target.partition("X-Amz-Date=")[2][:16]
    now = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) if stamp else time.time()
    # Clients add these after they have signed.
    sent += (("user-agent", "Boto3"), ("accept-encoding", "identity"))
    return Sent(family=family, method=method, target=target, headers=sent, body=body, now=now)


def verify(
    sent: Sent, keys: Keys | None = None, *, late: float = 0.0, service: str = ""
) -> sigv4.Opened:
    """Both halves, as control and objects do them."""
    table = keys or Keys()
    verifier = sigv4.Verifier(keys=lambda: table.table, seal=SEAL, now=lambda: sent.now + late)
    raw_path, _, raw_query = sent.target.partition("?")
    joined: dict[str, str] = {}
    for name, value in sent.headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    opened = verifier.open_request(
        family=sent.family,
        service=service or SERVICES[sent.family],
        raw_query=raw_query,
        headers=joined,
    )
    actual = hashlib.sha256(sent.body).hexdigest()
    expected = sigv4.s3_payload(opened) if sent.family == "s3" else actual
    sigv4.check(
        opened,
        family=sent.family,
        method=sent.method,
        raw_path=raw_path,
        raw_query=raw_query,
        headers=sent.headers,
        payload_hash=expected,
    )
    if sigv4.is_sha256(expected) and expected != actual:
        raise ServiceError("XAmzContentSHA256Mismatch", "the body is another")
    return opened


def refusal(sent: Sent, keys: Keys | None = None, **options: Any) -> tuple[str, int]:
    with pytest.raises(ServiceError) as caught:
        verify(sent, keys, **options)
    return caught.value.code, caught.value.status


def session(*, seconds: float = 3600.0, now: float) -> tuple[Credentials, Session]:
    opened = Session(
        access_key_id=SESSION_KEY, secret=SESSION_SECRET, principal=ROLE, expires_at=now + seconds
    )
    return Credentials(SESSION_KEY, SESSION_SECRET, SEAL.close(opened)), opened


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("presigned", [0, 60])
def test_a_signed_request_is_accepted_and_accepted_again(
    family: sigv4.Family, presigned: int
) -> None:
    sent = signed(family, presigned=presigned, region="eu-west-1")
    for _ in range(2):
        opened = verify(sent)
    assert opened.principal is ROOT
    assert opened.region == "eu-west-1"
    assert opened.presigned is bool(presigned)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_body_has_a_hash_too(family: sigv4.Family) -> None:
    assert verify(signed(family, body=b"", method="GET", target="/"))


def test_the_date_header_will_do() -> None:
    sent = signed(headers={"Date": "now"})
    assert "x-amz-date" not in dict(sent.headers)
    assert verify(sent)
    for date in ("no date", "Thu, 01 Jan 0001 00:00:00 +2300", "20200101T000000Z"):
        refusal(sent.header("date", date))
    assert refusal(sent.header("date", None)) == INCOMPLETE["json"]


PATHS = st.lists(
    st.sampled_from(
        ["a", "Z9", "-_.~", "/", "//", ".", "..", "/./", "/../", "%20", "%2F", "%25", "%C3%A9", "%2b",
         "+", "!$&'()*", ",;=:@", "*"]
    ),
    max_size=8,
).map(lambda parts: "/" + "".join(parts))  # fmt: skip
WORDS = st.lists(
    st.sampled_from(["a", "B", "1", "%20", "%2B", "~", "%C3%A9", ".", "%26", "%3D", "-"]),
    min_size=1,
    max_size=4,
).map("".join)
QUERIES = st.lists(st.tuples(WORDS, WORDS), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=8)
HEADERS = st.dictionaries(
    st.sampled_from(["X-Amz-Meta-A", "X-Amz-Target", "Content-Type", "X-Custom", "Content-MD5"]),
    st.lists(VALUES, min_size=1, max_size=3).map("  ".join),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    presigned=st.sampled_from([0, 1, 604_800]),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=st.binary(max_size=64),
    change=st.data(),
)
def test_what_botocore_signs_is_accepted_and_nothing_else(
    family: sigv4.Family,
    presigned: int,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
    change: st.DataObject,
) -> None:
    sent = signed(
        family,
        method=method,
        target=f"{path}?{query}" if query else path,
        headers=headers,
        body=body,
        presigned=presigned,
    )
    assert verify(sent).principal is ROOT
    changed = change.draw(st.sampled_from(_changes(sent, presigned)))(sent)
    assert changed != sent
    refusal(changed)


def _changes(sent: Sent, presigned: int) -> list[Callable[[Sent], Sent]]:
    def in_target(old: str, new: str) -> Callable[[Sent], Sent]:
        return lambda one: replace(one, target=one.target.replace(old, new, 1))

    raw_path, _, raw_query = sent.target.partition("?")
    changes: list[Callable[[Sent], Sent]] = [
        lambda one: replace(one, method="PATCH"),
        lambda one: replace(one, target=f"{raw_path}x?{raw_query}"),
        lambda one: replace(one, target=f"{raw_path}?{raw_query}&x=1"),
        lambda one: one.header("host", "elsewhere"),
        lambda one: one.header("x-amz-copy-source", "/bucket/secret"),
    ]
    if presigned:
        signature = sent.target.rpartition("=")[2]
        changes += [
            in_target(signature, _other_digit(signature)),
            in_target(signature, signature[:-1]),
            in_target("X-Amz-Expires=", "X-Amz-Expires=2"),
            in_target("us-east-1", "us-east-2"),
            in_target("X-Amz-SignedHeaders=", "X-Amz-SignedHeaders=accept-encoding%3B"),
        ]
    else:
        authorization = sent.value("authorization")
        signature = authorization.rpartition("=")[2]
        changes += [
            lambda one: replace(one, body=one.body + b"x"),
            lambda one: one.header("x-amz-date", None),
            lambda one: one.header(
                "authorization", authorization.replace(signature, _other_digit(signature))
            ),
            lambda one: one.header("authorization", authorization[:-1]),
            lambda one: one.header("authorization", authorization.replace("us-east", "us-west")),
            lambda one: one.header("authorization", authorization.replace(";x-amz-date", "")),
        ]
    signed_names = [name for name, _ in sent.headers if name.startswith(("x-", "content-"))]
    names = [name for name in signed_names if name != "x-amz-content-sha256"]
    changes += [lambda one, name=name: one.header(name, one.value(name) + "x") for name in names]  # type: ignore[misc]
    return changes


def _other_digit(signature: str) -> str:
    return ("1" if signature[0] == "0" else "0") + signature[1:]


def test_blanks_in_a_header_do_not_matter_and_repeated_ones_are_joined() -> None:
    sent = signed(headers={"X-Amz-Meta-A": "a   b"})
    assert verify(sent.header("x-amz-meta-a", "  a b "))
    twice = signed(headers={"X-Amz-Meta-A": "a,b"})
    headers = (*twice.header("x-amz-meta-a", None).headers,)
    assert verify(replace(twice, headers=(*headers, ("x-amz-meta-a", "a"), ("x-amz-meta-a", "b"))))
    swapped = (*headers, ("x-amz-meta-a", "b"), ("x-amz-meta-a", "a"))
    refusal(replace(twice, headers=swapped))


def test_a_client_may_sign_the_encoded_form_of_what_it_sends() -> None:
    sent = signed("s3", method="GET", target="/bucket/a%2Bb%3D?prefix=x%20y", body=b"")
    assert verify(replace(sent, target="/bucket/a+b=?prefix=x+y"))
    assert verify(replace(sent, target="/bucket/a%2bb%3d?prefix=x%20y"))


UNKNOWN = {
    "json": ("UnrecognizedClientException", 403),
    "query": ("InvalidClientTokenId", 403),
    "s3": ("InvalidAccessKeyId", 403),
}
WRONG = {
    "json": ("InvalidSignatureException", 403),
    "query": ("SignatureDoesNotMatch", 403),
    "s3": ("SignatureDoesNotMatch", 403),
}
INCOMPLETE = {
    "json": ("IncompleteSignatureException", 400),
    "query": ("IncompleteSignature", 400),
    "s3": ("AuthorizationHeaderMalformed", 400),
}
UNSIGNED = {**WRONG, "s3": ("AccessDenied", 403)}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unsigned_request_is_refused(family: sigv4.Family) -> None:
    assert (
        refusal(signed(family).header("authorization", None))
        == {
            "json": ("MissingAuthenticationTokenException", 403),
            "query": ("MissingAuthenticationToken", 403),
            "s3": ("AccessDenied", 403),
        }[family]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_and_inactive_keys_are_refused_alike(family: sigv4.Family) -> None:
    sent, keys = signed(family), Keys()
    keys.table = KeyTable({})
    assert refusal(sent, keys) == UNKNOWN[family]
    keys.table = KeyTable({KEY: KeyEntry(secret=SECRET, principal=ROOT, active=False)})
    assert refusal(sent, keys) == UNKNOWN[family]


def test_a_revoked_key_is_refused_at_the_next_request() -> None:
    sent, keys = signed(), Keys()
    verifier = sigv4.Verifier(keys=lambda: keys.table, seal=SEAL, now=lambda: sent.now)

    def open_request() -> None:
        verifier.open_request(
            family="json", service="sagemaker", raw_query="", headers=dict(sent.headers)
        )

    open_request()
    keys.table = KeyTable({})
    with pytest.raises(ServiceError):
        open_request()


@pytest.mark.parametrize("family", FAMILIES)
def test_another_secret_is_a_wrong_signature(family: sigv4.Family) -> None:
    sent = signed(family, credentials=Credentials(KEY, "guessed"))
    assert refusal(sent) == WRONG[family]


@pytest.mark.parametrize(
    ("family", "late", "code"),
    [
        ("json", 300, None),
        ("json", -300, None),
        ("json", 301, "InvalidSignatureException"),
        ("json", -301, "InvalidSignatureException"),
        ("query", 301, "SignatureDoesNotMatch"),
        ("s3", 900, None),
        ("s3", 901, "RequestTimeTooSkewed"),
        ("s3", -901, "RequestTimeTooSkewed"),
    ],
)
def test_clocks_may_differ_by_minutes(family: sigv4.Family, late: int, code: str | None) -> None:
    sent = signed(family)
    if code is None:
        assert verify(sent, late=late)
    else:
        assert refusal(sent, late=late) == (code, 403)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_presigned_address_lives_as_long_as_it_says(family: sigv4.Family) -> None:
    sent = signed(family, presigned=3600, body=b"")
    assert verify(sent, late=3600)
    assert refusal(sent, late=3601) == UNSIGNED[family]
    assert verify(sent, late=-200)
    assert refusal(sent, late=-1000)[1] == 403


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "x", "", "²", "9" * 5000])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_presigned_address_lives_a_week_at_most(family: sigv4.Family, expires: str) -> None:
    sent = signed(family, presigned=60)
    changed = sent.target.replace("X-Amz-Expires=60", f"X-Amz-Expires={expires}")
    assert refusal(replace(sent, target=changed))[1] == 400


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "SignedHeaders", "Expires"])
def test_a_presigned_address_has_to_be_whole(name: str) -> None:
    sent = signed("s3", presigned=60)
    changed = sent.target.replace(f"X-Amz-{name}=", f"Other-{name}=")
    assert refusal(replace(sent, target=changed)) == ("AuthorizationQueryParametersError", 400)


def test_the_body_of_a_presigned_put_is_free_and_of_a_presigned_call_is_not() -> None:
    put = signed("s3", method="PUT", presigned=60, body=b"")
    assert verify(replace(put, body=b"anything"))
    call = signed(
        "query", method="GET", target="/?Action=GetCallerIdentity", presigned=60, body=b""
    )
    assert verify(call)
    assert refusal(replace(call, body=b"anything")) == WRONG["query"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_session_is_known_by_its_token_alone(family: sigv4.Family) -> None:
    now = time.time()
    credentials, _ = session(now=now)
    for presigned in (0, 60):
        sent = signed(family, credentials=credentials, presigned=presigned, body=b"")
        opened = verify(sent)
        assert opened.principal == replace(ROLE, access_key_id=SESSION_KEY)
        over = refusal(signed(family, credentials=session(now=now, seconds=-60)[0]))
        assert (
            over
            == {
                "json": ("ExpiredTokenException", 403),
                "query": ("ExpiredToken", 400),
                "s3": ("ExpiredToken", 400),
            }[family]
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_of_another_or_changed_or_missing_is_refused(family: sigv4.Family) -> None:
    invalid = UNKNOWN | {"s3": ("InvalidToken", 400)}
    credentials, _ = session(now=time.time())
    token = str(credentials.token)
    for other in (token[:-4] + "AAAA", "no token", "", token[4:], "é"):
        sent = signed(family, credentials=Credentials(SESSION_KEY, SESSION_SECRET, other or "-"))
        assert refusal(sent) == invalid[family]
    stolen = signed(family, credentials=Credentials(KEY, SECRET, token))
    assert refusal(stolen) == invalid[family]
    bare = signed(family, credentials=Credentials(SESSION_KEY, SESSION_SECRET))
    assert refusal(bare) == UNKNOWN[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scope_is_of_the_service_reached_and_of_the_day(family: sigv4.Family) -> None:
    scope = WRONG | {"s3": ("AuthorizationHeaderMalformed", 400)}
    assert refusal(signed(family, service="other")) == scope[family]
    sent = signed(family)
    authorization = sent.value("authorization")
    day = sent.value("x-amz-date")[:8]
    assert (
        refusal(sent.header("authorization", authorization.replace(day, "20010101")))
        == scope[family]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_host_and_amazon_headers_have_to_be_signed(family: sigv4.Family) -> None:
    sent = signed(family)
    authorization = sent.value("authorization")
    for name in ("host", "x-amz-date"):
        others = authorization.replace(f";{name};", ";").replace(f"={name};", "=")
        others = others.replace(f";{name},", ",")
        assert refusal(sent.header("authorization", others)) == UNSIGNED[family]
    assert refusal(sent.header("x-amz-acl", "public-read")) == UNSIGNED[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential",
        "AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=",
        "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=AK/20200101/r/s/aws4, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=AK/20200101/r/s/aws4_request, Signature=0",
        "AWS4-HMAC-SHA256 Credential=AK/20200101/r/s/aws4_request, SignedHeaders=host;host, Signature=0",
    ],
)
def test_what_cannot_be_read_is_incomplete(family: sigv4.Family, authorization: str) -> None:
    assert refusal(signed(family).header("authorization", authorization)) == INCOMPLETE[family]


@pytest.mark.parametrize(
    "authorization",
    ["", "AWS AKID:signature", "AWS4-ECDSA-P256-SHA256 Credential=a", "Bearer x", "Basic eDp5"],
)
def test_other_schemes_are_refused_with_the_one_to_use(authorization: str) -> None:
    with pytest.raises(ServiceError, match="Please use AWS4-HMAC-SHA256"):
        verify(signed("s3").header("authorization", authorization))


@pytest.mark.parametrize(
    "stamp", ["20200101", "20200101T000000", "\u0662020\u0660101T000000Z", "x" * 16, ""]
)
def test_a_time_that_is_none_is_incomplete(stamp: str) -> None:
    sent = signed().header("x-amz-date", stamp)
    assert refusal(sent) == INCOMPLETE["json"]


def test_header_and_query_together_are_refused_by_s3() -> None:
    sent = signed("s3")
    query = signed("s3", presigned=60).target.partition("?")[2]
    assert refusal(replace(sent, target=f"/?{query}")) == ("InvalidArgument", 400)


def test_s3_demands_to_know_what_the_body_will_be() -> None:
    sent = signed("s3")
    opened = verify(sent)
    assert sigv4.s3_payload(opened) == hashlib.sha256(sent.body).hexdigest()
    for declared in (sigv4.UNSIGNED, *sigv4.STREAMING):
        assert sigv4.s3_payload(_declaring(opened, declared)) == declared
    with pytest.raises(ServiceError, match="Missing required header"):
        sigv4.s3_payload(_declaring(opened, ""))
    for declared in ("x", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "A" * 64):
        with pytest.raises(ServiceError, match="must be UNSIGNED-PAYLOAD"):
            sigv4.s3_payload(_declaring(opened, declared))
    changed = replace(sent, body=b"another")
    assert refusal(changed) == ("XAmzContentSHA256Mismatch", 400)


def _declaring(opened: sigv4.Opened, declared: str) -> sigv4.Opened:
    fields = {name: getattr(opened, name) for name in opened.__struct_fields__}
    return sigv4.Opened(**(fields | {"declared_hash": declared}))


@settings(max_examples=100, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    authorization=st.none() | st.text(max_size=80).map(lambda text: "AWS4-HMAC-SHA256 " + text),
    query=st.text(max_size=40).map(lambda text: "X-Amz-Signature=" + text),
    stamp=st.text(max_size=20),
    token=st.none() | st.text(max_size=60),
)
def test_nothing_but_a_refusal_comes_of_noise(
    family: sigv4.Family, authorization: str | None, query: str, stamp: str, token: str | None
) -> None:
    sent = signed(family).header("authorization", authorization).header("x-amz-date", stamp)
    refusal(replace(sent.header("x-amz-security-token", token), target=f"/?{query}"))


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(
        ["Algorithm", "Credential", "Date", "SignedHeaders", "Expires", "Signature"]
    ),
    value=st.sampled_from(["%FF", "%ED%A0%80", "a%00b", "%", "%zz", "é"]) | st.text(max_size=9),
)
def test_nothing_but_a_refusal_comes_of_a_broken_query(name: str, value: str) -> None:
    sent = signed("s3", presigned=60)
    kept = [item for item in sent.target.split("&") if not item.startswith(f"X-Amz-{name}=")]
    refusal(replace(sent, target="&".join([*kept, f"X-Amz-{name}={value}"])))
