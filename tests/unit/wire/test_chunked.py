"""Chunk-signed uploads: whole ones come out as they went in, changed ones are refused."""

import hashlib
import hmac
import io
from collections.abc import Sequence

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.base.call import Principal
from modelyard.base.errors import ServiceError
from modelyard.wire import chunked, keys, sigv4
from modelyard.wire.canonical import EMPTY_HASH
from modelyard.wire.hashing import HmacSha256

STAMP, SCOPE = "20130524T000000Z", "20130524/us-east-1/s3/aws4_request"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DERIVED = keys.derive(SECRET, "20130524", "us-east-1", "s3")
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1")
TRAILER = ("x-amz-checksum-crc32c", "sOO8/Q==")


def opened(seed: str) -> sigv4.Opened:
    signer = sigv4.Signer(
        key_id="AKIAIOSFODNN7EXAMPLE",
        date="20130524",
        region="us-east-1",
        service="s3",
        scope=SCOPE,
        signed="host",
        names=("host",),
    )
    return sigv4.Opened(
        principal=ROOT,
        signer=signer,
        timestamp=STAMP,
        signature=seed,
        signing_key=HmacSha256(DERIVED),
        presigned=False,
        declared_hash=chunked.SIGNED,
    )


SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"


def decoder(
    mode: str, *, length: int | None = None, seed: str = SEED, announced: str = ""
) -> chunked.ChunkDecoder:
    signing = None if mode == chunked.UNSIGNED_TRAILER else chunked.Signing(opened(seed))
    return chunked.ChunkDecoder(mode, decoded_length=length, signing=signing, announced=announced)


def decode(one: chunked.ChunkDecoder, body: bytes, *, step: int = 1 << 20) -> bytes:
    found = b"".join(
        piece
        for start in range(0, len(body), step)
        for piece in one.feed(body[start : start + step])
    )
    one.finish()
    return found


def encode(chunks: Sequence[bytes], *, trailers: Sequence[tuple[str, str]] | None = None) -> bytes:
    """As AWS's documentation says a client does it."""
    previous, parts = SEED, []
    for chunk in (*chunks, b""):
        digest = hashlib.sha256(chunk).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{STAMP}\n{SCOPE}\n{previous}\n{EMPTY_HASH}\n{digest}"
        previous = hmac.digest(DERIVED, text.encode(), "sha256").hex()
        parts.append(b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode()))
        parts.append(chunk + b"\r\n" if chunk else b"")
    if trailers is not None:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{STAMP}\n{SCOPE}\n{previous}\n{digest}"
        signature = hmac.digest(DERIVED, text.encode(), "sha256").hex()
        parts.append(lines.replace("\n", "\r\n").encode())
        parts.append(f"x-amz-trailer-signature:{signature}\r\n".encode())
    return b"".join(parts) + b"\r\n"


def refusal(one: chunked.ChunkDecoder, body: bytes, *, step: int = 1 << 20) -> str:
    with pytest.raises(ServiceError) as caught:
        decode(one, body, step=step)
    return caught.value.code


def documented(signatures: Sequence[str], end: bytes) -> bytes:
    """The example of AWS's documentation: 66,560 letters in chunks of 64 and 1 KiB."""
    parts = [
        b"%x;chunk-signature=%s\r\n%s"
        % (size, signature.encode(), b"a" * size + b"\r\n" * bool(size))
        for size, signature in zip((65536, 1024, 0), signatures, strict=True)
    ]
    return b"".join(parts) + end


def test_the_documented_example_is_decoded() -> None:
    body = documented(
        (
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ),
        b"\r\n",
    )
    assert decode(decoder(chunked.SIGNED, length=66_560), body) == b"a" * 66_560


def test_the_documented_example_with_a_trailer_is_decoded() -> None:
    body = documented(
        (
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ),
        b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
        b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
    )
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    one = decoder(chunked.SIGNED_TRAILER, length=66_560, seed=seed, announced=TRAILER[0])
    assert decode(one, body) == b"a" * 66_560
    assert one.trailers == dict([TRAILER])


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    trailer=st.booleans(),
    step=st.integers(1, 50),
)
def test_what_is_signed_comes_out_however_it_arrives(
    chunks: list[bytes], trailer: bool, step: int
) -> None:
    mode = chunked.SIGNED_TRAILER if trailer else chunked.SIGNED
    body = encode(chunks, trailers=[TRAILER] if trailer else None)
    one = decoder(mode, length=len(b"".join(chunks)))
    assert decode(one, body, step=step) == b"".join(chunks)


@settings(max_examples=100, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=3),
    trailer=st.booleans(),
    change=st.data(),
)
def test_one_changed_byte_is_refused(
    chunks: list[bytes], trailer: bool, change: st.DataObject
) -> None:
    body = bytearray(encode(chunks, trailers=[TRAILER] if trailer else None))
    place = change.draw(st.integers(0, len(body) - 1))
    before = body[place]
    body[place] = change.draw(st.integers(0, 255).filter(lambda byte: byte != before))
    one = decoder(
        chunked.SIGNED_TRAILER if trailer else chunked.SIGNED,
        length=len(b"".join(chunks)),
        announced=TRAILER[0] if trailer else "",
    )
    try:
        found = decode(one, bytes(body))
    except ServiceError:
        return
    # Case and blanks mean nothing in a header's name or around its value; nothing else may differ.
    assert found == b"".join(chunks)
    assert one.trailers == (dict([TRAILER]) if trailer else {})


def test_nothing_of_a_changed_chunk_comes_out() -> None:
    body = encode([b"good", b"evil"]).replace(b"evil", b"EVIL")
    one = decoder(chunked.SIGNED)
    found: list[bytes] = []
    with pytest.raises(ServiceError) as caught:
        for piece in one.feed(body):
            found.append(piece)  # noqa: PERF402 - what came before the error counts
    assert caught.value.code == "SignatureDoesNotMatch"
    assert found == [b"good"]


@pytest.mark.parametrize("cut", [1, 2, 50, 100, 130])
def test_a_body_that_ends_early_is_incomplete(cut: int) -> None:
    assert refusal(decoder(chunked.SIGNED), encode([b"data"])[:-cut]) == "IncompleteBody"


def test_chunks_cannot_change_places_or_be_left_out() -> None:
    whole = encode([b"aaaa", b"bbbb"])
    length = whole.index(b"aaaa") + 6
    first, second, end = whole[:length], whole[length : 2 * length], whole[2 * length :]
    for body in (second + first + end, second + end, first + end, end):
        assert refusal(decoder(chunked.SIGNED), body) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"0x4\r\ndata\r\n",
        b"+4\r\ndata\r\n",
        b" 4\r\ndata\r\n",
        b"\r\n\r\n",
        b"4\r\ndata!\r\n",
        b"4\r\ndataXX0\r\n\r\n",
        b"0\r\n\r\nmore",
        b"4;" + b"x" * 5000,
        b"4;" + b"x" * 5000 + b"\r\ndata\r\n0\r\n\r\n",
        b"0\r\n" + b"a:b\r\n" * 20 + b"\r\n",
        b"f" * 4000 + b"\r\n",
    ],
)
def test_a_malformed_body_is_incomplete(body: bytes) -> None:
    for step in (1, 1 << 20):
        assert refusal(decoder(chunked.UNSIGNED_TRAILER), body, step=step) == "IncompleteBody"


@pytest.mark.parametrize("length", [3, 5])
def test_the_decoded_length_is_a_promise(length: int) -> None:
    assert refusal(decoder(chunked.SIGNED, length=length), encode([b"data"])) == "IncompleteBody"


def test_a_signed_chunk_has_a_limit_and_an_unsigned_one_has_none() -> None:
    header = b"%x;chunk-signature=%s\r\n" % (chunked.CHUNK_LIMIT + 1, b"0" * 64)
    assert refusal(decoder(chunked.SIGNED), header) == "InvalidRequest"
    one = decoder(chunked.UNSIGNED_TRAILER)
    assert list(one.feed(b"100000000\r\npart")) == [b"part"]


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200), size=st.integers(1, 64), step=st.integers(1, 64))
def test_what_botocore_streams_is_decoded(data: bytes, size: int, step: int) -> None:
    wrapper = AwsChunkedWrapper(
        io.BytesIO(data),
        checksum_cls=Crc32Checksum,
        checksum_name="x-amz-checksum-crc32",
        chunk_size=size,
    )
    one = decoder(chunked.UNSIGNED_TRAILER, length=len(data), announced="x-amz-checksum-crc32")
    assert decode(one, wrapper.read(), step=step) == data
    checksum = Crc32Checksum()
    checksum.update(data)
    assert one.trailers == {"x-amz-checksum-crc32": checksum.b64digest()}


def test_a_trailer_that_was_announced_has_to_come() -> None:
    one = decoder(chunked.UNSIGNED_TRAILER, announced="x-amz-checksum-crc32")
    assert refusal(one, b"4\r\ndata\r\n0\r\n\r\n") == "MalformedTrailerError"


def test_a_trailer_may_not_come_where_none_is_signed() -> None:
    body = encode([b"data"])[:-2] + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert refusal(decoder(chunked.SIGNED), body) == "IncompleteBody"


def test_a_changed_trailer_is_refused() -> None:
    body = encode([b"data"], trailers=[TRAILER])
    changed = body.replace(b"sOO8/Q==", b"AAAAAA==")
    assert refusal(decoder(chunked.SIGNED_TRAILER), changed) == "SignatureDoesNotMatch"
    unsigned = body[: body.index(b"x-amz-trailer-signature")] + b"\r\n"
    assert refusal(decoder(chunked.SIGNED_TRAILER), unsigned) == "SignatureDoesNotMatch"


def test_without_signing_signatures_are_not_looked_at() -> None:
    one = chunked.ChunkDecoder(chunked.SIGNED, decoded_length=4, signing=None)
    assert decode(one, b"4;chunk-signature=none\r\ndata\r\n0\r\n\r\n") == b"data"
