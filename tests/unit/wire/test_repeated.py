"""A plan says yes to what whole verification says yes to, and nothing to all else."""

import calendar
import hashlib
import time
from dataclasses import dataclass

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.call import Principal
from modelyard.wire.keys import KeyEntry, KeyTable
from modelyard.wire.repeated import Plan, Repeated, make_plan
from modelyard.wire.sealed import Seal
from modelyard.wire.sigv4 import SKEW_SECONDS, Verifier, check

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1", access_key_id=KEY)
TARGET = "/endpoints/churn%20100%25/invocations"
CHANGING = ("authorization", "x-amz-date", "content-length", "amz-sdk-invocation-id")


@dataclass
class Platform:
    """The key table and the clock that signatures are verified by."""

    active: bool = True
    late: float = 0.0
    at: str = "20261128T120000Z"

    def verifier(self) -> Verifier:
        return Verifier(keys=self.keys, seal=Seal(bytes(32)), now=self.now)

    def keys(self) -> KeyTable:
        return KeyTable({KEY: KeyEntry(secret=SECRET, principal=ROOT, active=self.active)})

    def now(self) -> float:
        return calendar.timegm(time.strptime(self.at, "%Y%m%dT%H%M%SZ")) + self.late


def signed(body: bytes, at: str, *, target: str = TARGET, **more: str) -> dict[str, str]:
    headers = {"Host": "h", "Content-Type": "text/csv", **more}
    request = AWSRequest("POST", f"http://h{target}", headers, body)
    auth = SigV4Auth(Credentials(KEY, SECRET), "sagemaker", "us-east-1")
    request.context["timestamp"] = at
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return {name.lower(): str(value) for name, value in request.headers.items()}


def plan_of(platform: Platform, headers: dict[str, str], body: bytes) -> Plan | None:
    """Of a request that is verified whole."""
    opened = platform.verifier().open_request(
        family="json", service="sagemaker", raw_query="", headers=headers
    )
    check(
        opened,
        family="json",
        method="POST",
        raw_path=TARGET,
        raw_query="",
        headers=list(headers.items()),
        payload_hash=hashlib.sha256(body).hexdigest(),
    )
    return make_plan(opened, method="POST", target=TARGET, headers=headers, changing=CHANGING)


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def plan(platform: Platform) -> Plan:
    found = plan_of(platform, signed(b"1", "20261128T120000Z"), b"1")
    assert found is not None
    return found


def test_another_body_at_another_time_is_recognised(platform: Platform, plan: Plan) -> None:
    headers = signed(b"2,3", "20261128T120107Z")
    assert Repeated(platform.verifier()).recognise(plan, TARGET, headers, b"2,3") == ROOT


def test_another_path_of_plain_names_is_recognised(platform: Platform, plan: Plan) -> None:
    target = "/endpoints/spam-2.b~c_d/invocations"
    headers = signed(b"2", "20261128T120107Z", target=target)
    repeated = Repeated(platform.verifier())
    assert repeated.recognise(plan, target, headers, b"2") == ROOT
    assert repeated.recognise(plan, target + "x", headers, b"2") is None
    assert repeated.recognise(plan, TARGET, headers, b"2") is None


@pytest.mark.parametrize(
    "target", ["/a%20b/c", "/a//b", "/a/../b", "/a/", "/", "", "/a?b", "/a:b", "a/b", "/a/.b", "*"]
)
def test_a_path_that_is_signed_as_another_text_is_read_whole(
    platform: Platform, plan: Plan, target: str
) -> None:
    headers = signed(b"2", "20261128T120107Z", target="/" + target.lstrip("/"))
    assert Repeated(platform.verifier()).recognise(plan, target, headers, b"2") is None


@given(
    place=st.integers(0, 200),
    byte=st.integers(0, 255),
    where=st.sampled_from(("body", *CHANGING[:2])),
)
def test_no_byte_that_was_signed_can_be_changed(place: int, byte: int, where: str) -> None:
    platform = Platform()
    plan = plan_of(platform, signed(b"1", "20261128T120000Z"), b"1")
    assert plan is not None
    body = b"some rows of a body"
    headers = signed(body, "20261128T120001Z")
    if where == "body":
        changed = bytearray(body)
        changed[place % len(body)] = byte
        is_same = bytes(changed) == body
        body = bytes(changed)
    else:
        text = bytearray(headers[where].encode())
        text[place % len(text)] = byte % 95 + 32
        is_same = text.decode() == headers[where]
        headers[where] = text.decode()
    found = Repeated(platform.verifier()).recognise(plan, TARGET, headers, body)
    assert (found == ROOT) is is_same


def test_a_key_that_is_inactive_by_now_is_not_recognised(platform: Platform, plan: Plan) -> None:
    platform.active = False
    headers = signed(b"2", "20261128T120001Z")
    assert Repeated(platform.verifier()).recognise(plan, TARGET, headers, b"2") is None


@pytest.mark.parametrize("late", [SKEW_SECONDS + 1, -SKEW_SECONDS - 1])
def test_the_same_request_at_another_time_is_not_recognised(
    platform: Platform, plan: Plan, late: float
) -> None:
    headers = signed(b"1", "20261128T120000Z")
    platform.late = late
    assert Repeated(platform.verifier()).recognise(plan, TARGET, headers, b"1") is None


def test_another_day_is_read_whole(platform: Platform, plan: Plan) -> None:
    platform.late = 12 * 3600.0
    headers = signed(b"1", "20261129T000000Z")
    assert Repeated(platform.verifier()).recognise(plan, TARGET, headers, b"1") is None


def test_a_declared_hash_of_another_body_is_not_recognised(platform: Platform, plan: Plan) -> None:
    headers = signed(b"1", "20261128T120001Z")
    headers["x-amz-content-sha256"] = "0" * 64
    assert Repeated(platform.verifier()).recognise(plan, TARGET, headers, b"1") is None


def test_signed_headers_that_change_are_part_of_what_is_verified(platform: Platform) -> None:
    first = signed(b"1", "20261128T120000Z", **{"amz-sdk-invocation-id": "a"})
    plan = plan_of(platform, first, b"1")
    assert plan is not None
    again = signed(b"1", "20261128T120002Z", **{"amz-sdk-invocation-id": "b"})
    assert Repeated(platform.verifier()).recognise(plan, TARGET, again, b"1") == ROOT
    again["amz-sdk-invocation-id"] = "c"
    assert Repeated(platform.verifier()).recognise(plan, TARGET, again, b"1") is None
