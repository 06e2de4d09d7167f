"""What is said in C of a signed request's bytes is what Python says of what it reads of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.call import Principal
from modelyard.base.settings import Limits, Settings
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import CHANGING, Head, HeadForm
from modelyard.gateway.http import ClientConnection
from modelyard.native import built
from modelyard.server.authentication import Authentication
from modelyard.testing.wire import Wire
from modelyard.wire import signed as signed_module
from modelyard.wire.canonical import sign
from modelyard.wire.hashing import HmacSha256
from modelyard.wire.keys import KeyEntry, KeyTable, derive
from modelyard.wire.repeated import Repeated
from modelyard.wire.sealed import Seal
from modelyard.wire.signed import SignedForm, signed_form
from modelyard.wire.sigv4 import SKEW_SECONDS, UNSIGNED, Verifier, epoch

native = pytest.mark.skipif(built is None, reason="there was no C compiler")
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1", access_key_id=KEY)
TARGET = "/endpoints/churn%20100%25/invocations"
AT = "20261128T120000Z"
NOW = epoch(AT)


def signed(
    body: bytes,
    *,
    at: str = AT,
    target: str = TARGET,
    secret: str = SECRET,
    signs_body: bool = True,
    unsigned: tuple[str, ...] = (),
    **more: str,
) -> bytes:
    """A request as botocore signs it, on the wire. It would sign what ``x-amz-content-sha256`` declares for the body's hash."""
    headers = {"Content-Type": "text/csv", **{name.replace("_", "-"): more[name] for name in more}}
    request = AWSRequest("POST", f"http://h{target}", {"Host": "h", **headers}, body)
    auth = SigV4Auth(Credentials(KEY, secret), "sagemaker", "us-east-1")
    request.context["timestamp"] = at
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    if signs_body:
        canonical = canonical.rpartition("\n")[0] + "\n" + sha256(body).hexdigest()
    text = auth.string_to_sign(request, canonical)
    auth._inject_signature_to_request(request, auth.signature(text, request))
    lines = [f"POST {target} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
    lines += ["User-Agent: a 100%s client", f"Content-Length: {len(body)}", *unsigned]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Platform:
    """A connection of the gateway's that has verified two requests, and so knows the form of the next."""

    heads: list[Head] = field(default_factory=list)
    now: float = NOW
    table: KeyTable = field(
        default_factory=lambda: KeyTable({KEY: KeyEntry(secret=SECRET, principal=ROOT)})
    )

    def __post_init__(self) -> None:
        self.verifier = Verifier(
            keys=lambda: self.table, seal=Seal(bytes(32)), now=lambda: self.now
        )
        self.authentication = Authentication(Settings(home=Path("unused")), self.verifier)
        gate = Gate(Limits(), self.handle, lambda: 0.0)
        self.connection = ClientConnection(gate)
        self.connection.connection_made(Wire())  # type: ignore[arg-type]

    def handle(self, head: Head, client: ClientConnection) -> "Platform":
        self.heads.append(head)
        head.memo = head.memo or object()
        self.client = client
        return self

    def whole(self, data: bytes) -> None:
        self.authentication.invocation(self.heads[-1], data)
        self.complete()

    def body(self, data: bytes) -> None: ...
    def complete(self) -> None:
        self.client.respond(200, b"", b"")

    def client_gone(self) -> None: ...
    def client_paused(self, paused: bool) -> None: ...

    def learn(self, request: Callable[[bytes], bytes]) -> HeadForm:
        """The form and plan of these requests."""
        self.connection.data_received(request(b"1"))
        self.connection.data_received(request(b"2,3"))
        form = self.heads[-1].form
        assert form is not None
        return form

    def asks_python(self, form: HeadForm, data: bytes) -> bool:
        """Whether the head is read by its form, for the form's own target, and recognised by its plan."""
        end = data.find(b"\r\n\r\n") + 4
        head = form.read(data[:end]) if end > 3 else None
        if head is None or head.target != TARGET or len(data) != end + head.length:
            return False
        found = Repeated(self.verifier).recognise(form.plan, TARGET, head.joined, data[end:])
        return found is not None


def asks_c(form: SignedForm, data: bytes, now: float) -> bool:
    end = data.find(b"\r\n\r\n") + 4
    verdict: bool = form.signed.verify(data, end, now)
    return verdict


class Case:
    """A form that was learnt, and what says yes to it in C: as on this CPU, and as on any other."""

    def __init__(self, **headers: Any) -> None:
        self.platform = Platform()
        self.form = self.platform.learn(lambda body: signed(body, **headers))
        of_cpu = self.platform.authentication.signed(self.form)
        target, pieces, names = self.form.parts()
        portable = signed_form(
            self.form.plan,
            self.platform.verifier,
            target=target,
            pieces=pieces,
            names=names,
            portable=True,
        )
        assert of_cpu is not None and portable is not None
        self.signed = of_cpu
        self.all = [of_cpu, portable]

    def agree(self, data: bytes) -> bool:
        """What all say of a request."""
        said = self.platform.asks_python(self.form, data)
        assert [asks_c(one, data, self.platform.now) for one in self.all] == [said, said]
        return said


ALL: dict[str, Any] = {
    "X_Amz_Content_Sha256": UNSIGNED,
    "amz_sdk_invocation_id": "1-2",
    "unsigned": ("amz-sdk-request: a=1",),
}
CASES: dict[str, Case] = {}


def case(kind: str) -> Case:
    """Learnt once for all examples."""
    if kind not in CASES:
        CASES[kind] = Case(**(ALL if kind == "all" else {}))
    return CASES[kind]


KINDS = ("few", "all")
kinds = pytest.mark.parametrize("kind", KINDS)


def request(kind: str, body: bytes, at: str = AT, **more: Any) -> bytes:
    return signed(body, at=at, **{**(ALL if kind == "all" else {}), **more})


@native
@kinds
def test_who_signed_is_said_with_the_table_that_says_so(kind: str) -> None:
    known = case(kind)
    assert known.signed.principal == ROOT
    assert known.signed.region == "us-east-1"
    assert known.signed.keys is known.platform.table


@native
@kinds
@pytest.mark.parametrize("body", [b"", b"4,5,6", b"\r\n\r\n\0", bytes(100_000)])
def test_another_body_at_another_time_is_verified(kind: str, body: bytes) -> None:
    data = request(kind, body, at="20261128T120107Z")
    assert case(kind).agree(data)
    end = data.find(b"\r\n\r\n") + 4
    assert case(kind).signed.signed.length(data[:end]) == len(body)


@native
def test_all_headers_that_may_change_fit() -> None:
    _, _, names = case("all").form.parts()
    assert set(names) == CHANGING


@native
@pytest.mark.parametrize(
    "at",
    [
        "20261128T115500Z",
        "20261128T115459Z",
        "20261128T120500Z",
        "20261128T120501Z",
        "20261128T240000Z",
        "20261128T120060Z",
        "20261128T126000Z",
        "20261128T1200 1Z",
        "20261128 120001Z",
        "20261128T12000Z",
        "20261128T1200011",
        "20261128T1200000Z",
        "20261129T000000Z",
        "20261128T12:0:0Z",
        "",
    ],
)
@pytest.mark.parametrize("late", [0.0, 3600.0, 43_200.0, -43_200.0])
def test_each_time_stamp_that_was_signed_is_judged_alike(at: str, late: float) -> None:
    known = case("few")
    known.platform.now = NOW + late
    try:
        known.agree(signed(b"1", at=at))
    finally:
        known.platform.now = NOW


@native
@pytest.mark.parametrize("now", ["20261128T000000Z", "20261129T000000Z"])
def test_a_key_of_one_day_signs_no_time_of_another(now: str) -> None:
    known = case("few")
    plan, at = known.form.plan, "20261129T000000Z"
    signer = plan.signer
    key = HmacSha256(derive(SECRET, signer.date, signer.region, signer.service))
    canonical = plan.canonical % (plan.path, at, sha256(b"1").hexdigest())
    before, found, _ = signed(b"1").replace(AT.encode(), at.encode()).partition(b"Signature=")
    after = signed(b"1").partition(b"Signature=")[2][64:]
    data = before + found + sign(key, at, signer.scope, canonical) + after
    known.platform.now = epoch(now)
    try:
        assert not known.agree(data)
    finally:
        known.platform.now = NOW


@native
@pytest.mark.parametrize("late", [SKEW_SECONDS, -SKEW_SECONDS])
def test_a_clock_may_be_wrong_by_minutes_and_no_second_more(late: float) -> None:
    data = signed(b"1")
    form = case("few").signed
    assert asks_c(form, data, NOW + late)
    assert not asks_c(form, data, NOW + late * 1.01)
    assert not asks_c(form, data, float("nan"))


@native
def test_a_time_stamp_that_only_python_reads_is_left_to_it() -> None:
    known = case("few")
    data = signed(b"1", at=AT.lower())
    assert known.platform.asks_python(known.form, data)
    assert not asks_c(known.signed, data, NOW)


hashes = st.sampled_from([UNSIGNED, "", "0" * 64, UNSIGNED.lower(), "UNSIGNED"])
printable = st.text(alphabet=st.sampled_from("ab1 =;,%\t\x7f\xe9\0"), max_size=8)


@native
@given(
    body=st.binary(max_size=200),
    declared=hashes,
    text=printable,
    other=printable,
    whole=st.booleans(),
)
def test_whatever_values_are_signed_both_say_the_same(
    body: bytes, declared: str, text: str, other: str, whole: bool
) -> None:
    headers = {"X_Amz_Content_Sha256": declared, "amz_sdk_invocation_id": text}
    unsigned = (f"amz-sdk-request: {other}",)
    case("all").agree(request("all", body, **headers, signs_body=whole, unsigned=unsigned))


@native
@pytest.mark.parametrize(
    ("value", "is_plain"),
    [
        ("", True),
        ("a b", True),
        ("~!", True),
        (" ", False),
        (" a", False),
        ("a ", False),
        ("a  b", False),
        ("a\tb", False),
        ("\0", False),
        ("\n", False),
        ("\x7f", False),
        ("\x80", False),
        ("\xff", False),
    ],
)
def test_a_value_that_nobody_signed_is_plain_or_left_to_the_parser(
    value: str, is_plain: bool
) -> None:
    data = request("all", b"1", unsigned=(f"amz-sdk-request: {value}",))
    assert case("all").agree(data) is is_plain


@native
@pytest.mark.parametrize(
    ("body", "length", "is_plain"),
    [
        (b"1", "000000000001", True),
        (b"1", "0000000000001", False),
        (b"1", "2", False),
        (b"1", "+1", False),
        (b"1", "1.", False),
        (b"", "", False),
        (b"123456789", "1/", False),
        (b"1234567890", "0:", False),
    ],
)
def test_a_length_is_written_in_a_dozen_digits(body: bytes, length: str, is_plain: bool) -> None:
    right = f"Content-Length: {len(body)}\r\n".encode()
    data = request("few", body).replace(right, f"Content-Length: {length}\r\n".encode())
    assert case("few").agree(data) is is_plain


@native
def test_a_head_ends_where_its_empty_line_does() -> None:
    data = request("few", b"") + b"1"
    verify = case("few").signed.signed.verify
    assert verify(data[:-1], len(data) - 1, NOW)
    assert not verify(data, len(data) - 1, NOW)
    assert not verify(data, len(data), NOW)


@native
@pytest.mark.parametrize("more", [b"0", b" ", b",", b", SignedHeaders=host"])
def test_nothing_comes_behind_a_signature(more: bytes) -> None:
    data = request("few", b"1")
    at = data.index(b"Signature=") + len("Signature=") + 64
    assert case("few").agree(data)
    assert not case("few").agree(data[:at] + more + data[at:])
    assert not case("few").agree(data[: at - 1] + data[at:])


@native
@given(body=st.binary(max_size=200))
def test_a_declared_hash_is_that_of_the_body_or_none_at_all(body: bytes) -> None:
    digest = sha256(body).hexdigest()
    for declared in (digest, UNSIGNED, ""):
        assert case("all").agree(request("all", body, X_Amz_Content_Sha256=declared))
    for declared in (digest.upper(), "0" * 64, UNSIGNED + "-"):
        assert not case("all").agree(request("all", body, X_Amz_Content_Sha256=declared))


def flipped(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    changed[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def spliced(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes taken out, or put in."""
    at = draw(st.integers(0, len(data)))
    gone = draw(st.integers(0, 3))
    return data[:at] + draw(st.binary(max_size=3)) + data[at + gone :]


def cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def longer(draw: st.DrawFn, data: bytes) -> bytes:
    return data + draw(st.binary(max_size=3))


def spaced(draw: st.DrawFn, data: bytes) -> bytes:
    """With another space, or without one that is there."""
    places = [at for at, byte in enumerate(data) if byte == ord(" ")]
    if not places:
        return data
    at = draw(st.sampled_from(places))
    return data[:at] + draw(st.sampled_from([b"", b"  ", b"\t", b" \0"])) + data[at + 1 :]


def relined(draw: st.DrawFn, data: bytes) -> bytes:
    """A line less, a line twice, or lines in another order."""
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match draw(st.sampled_from(["less", "twice", "swapped"])):
        case "less":
            del lines[at]
        case "twice":
            lines.insert(other, lines[at])
        case _:
            lines[at], lines[other] = lines[other], lines[at]
    return b"\r\n".join(lines) + end + body


def relengthened(draw: st.DrawFn, data: bytes) -> bytes:
    """Another length, or the same one written otherwise."""
    head, end, body = data.partition(b"\r\n\r\n")
    before, name, length = head.rpartition(b"Content-Length: ")
    other = draw(
        st.sampled_from([b"0", b"00", b"-", b"+", b"", b"x", b"0" * 12, b"9" * 12, b"9" * 40])
    )
    text = draw(st.sampled_from([other, other + length, length + other]))
    return before + name + text + end + body


CHANGES = (flipped, spliced, cut, longer, spaced, relined, relengthened)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    kind = draw(st.sampled_from(KINDS))
    at = draw(st.sampled_from([AT, "20261128T120459Z", "20261128T121000Z", "20261129T120000Z"]))
    secret = draw(st.sampled_from([SECRET, SECRET, "another"]))
    data = request(kind, draw(st.binary(max_size=130)), at=at, secret=secret)
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=2)):
        data = change(draw, data) if data else data
    return kind, data


@native
@given(drawn=damaged())
def test_whatever_is_damaged_both_say_the_same(drawn: tuple[str, bytes]) -> None:
    kind, data = drawn
    case(kind).agree(data)


@native
@pytest.mark.parametrize("bit", range(8))
def test_no_bit_of_head_or_body_can_be_changed(bit: int) -> None:
    data = request("few", b"some rows of a body")
    for place, byte in enumerate(data):
        changed = data[:place] + bytes([byte ^ 1 << bit]) + data[place + 1 :]
        assert not case("few").agree(changed)


@native
@given(data=st.binary(max_size=400), end=st.integers(-10, 410), now=st.floats())
def test_no_bytes_at_all_are_verified(data: bytes, end: int, now: float) -> None:
    for known in map(case, KINDS):
        assert known.signed.signed.verify(data, end, now) is False
        assert known.signed.signed.length(data) == -1


@native
def test_a_huge_head_is_judged_alike() -> None:
    assert case("all").agree(request("all", b"1", amz_sdk_invocation_id="a" * 100_000))
    assert not case("all").agree(
        request("all", b"1", unsigned=("amz-sdk-request: " + "a " * 50_000,))
    )


@native
def test_another_path_is_left_to_python() -> None:
    known = case("few")
    target = "/endpoints/other/invocations"
    data = signed(b"1", target=target)
    end = data.find(b"\r\n\r\n") + 4
    head = known.form.read(data[:end])
    assert head is not None
    verified = Repeated(known.platform.verifier).recognise(
        known.form.plan, target, head.joined, b"1"
    )
    assert verified == ROOT
    assert not asks_c(known.signed, data, NOW)


@native
@pytest.mark.parametrize(
    ("first", "is_plain"), [("/endpoints/one/invocations", True), (TARGET, False)]
)
def test_a_plan_of_another_path_serves_where_both_are_signed_as_they_are_sent(
    first: str, is_plain: bool
) -> None:
    platform = Platform()
    form = platform.learn(lambda body: signed(body, target=first))
    form.plan = None
    other = signed(b"1", target="/endpoints/two/invocations")
    platform.connection.data_received(other)
    assert form.plan is not None
    found = platform.authentication.signed(form)
    assert (found is not None) is is_plain
    if found is not None:
        assert asks_c(found, signed(b"1", target=first), NOW)
        assert not asks_c(found, other, NOW)


@native
def test_nothing_is_made_without_a_plan_of_this_service_and_a_key_that_is_active() -> None:
    platform = Platform()
    form = platform.learn(signed)
    assert platform.authentication.signed(form, service="comprehend") is None
    platform.table = KeyTable({KEY: KeyEntry(secret=SECRET, principal=ROOT, active=False)})
    assert platform.authentication.signed(form) is None
    form.plan = None
    assert platform.authentication.signed(form) is None


def test_without_a_compiler_all_is_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform()
    form = platform.learn(signed)
    monkeypatch.setattr(signed_module, "built", None)
    assert platform.authentication.signed(form) is None
    assert platform.asks_python(form, signed(b"4"))


@native
@pytest.mark.parametrize(
    "wrong",
    [
        {"pieces": ()},
        {"pieces": (b"",) * 14},
        {"pieces": (b"a", "b")},
        {"canonical": ()},
        {"canonical": (b"",) * 15},
        {"holes": (0,)},
        {"holes": (0, 1)},
        {"holes": (-2, -1)},
        {"holes": ("0", -1)},
        {"authorization": 1},
        {"timestamp": -1},
        {"length": 2},
        {"declared": 1},
        {"declared": -2},
        {"date": b"2026112"},
        {"key": bytes(31)},
        {"scope": "text"},
    ],
)
def test_what_does_not_fit_together_is_no_signed(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {
        "pieces": (b"a", b"b"),
        "canonical": (b"", b"", b""),
        "holes": (0, -1),
        "authorization": 0,
        "timestamp": 0,
        "length": 0,
        "declared": -1,
        "before_signature": b"",
        "scope": b"",
        "date": b"20261128",
        "midnight": 0.0,
        "skew": 300.0,
        "key": bytes(32),
    }
    assert built is not None
    assert not built.Signed(**right).verify(b"ab", 2, 0.0)
    with pytest.raises((TypeError, ValueError)):
        built.Signed(**{**right, **wrong})
