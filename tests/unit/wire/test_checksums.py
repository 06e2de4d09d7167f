"""Checksums: botocore's are ours, and what does not fit is refused."""

import base64
import hashlib
import zlib

import pytest
from botocore import httpchecksum
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.errors import ServiceError
from modelyard.wire import checksums

BOTOCORE = {
    "CRC32": httpchecksum.Crc32Checksum,
    "CRC32C": httpchecksum.CrtCrc32cChecksum,
    "CRC64NVME": httpchecksum.CrtCrc64NvmeChecksum,
    "SHA1": httpchecksum.Sha1Checksum,
    "SHA256": httpchecksum.Sha256Checksum,
}


@given(pieces=st.lists(st.binary(max_size=50), max_size=4))
@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
def test_a_checksum_is_botocores(algorithm: str, pieces: list[bytes]) -> None:
    ours, theirs = checksums.create(algorithm), BOTOCORE[algorithm]()
    for piece in pieces:
        ours.update(piece)
        theirs.update(piece)
    assert checksums.encode(ours) == theirs.b64digest()
    checksums.require(algorithm, theirs.b64digest(), ours)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [("CRC32", 0xCBF43926), ("CRC32C", 0xE3069283), ("CRC64NVME", 0xAE8B14860A799888)],
)
def test_the_check_values_of_the_catalogue(algorithm: str, expected: int) -> None:
    one = checksums.create(algorithm)
    one.update(b"123456789")
    assert int.from_bytes(one.digest(), "big") == expected


def test_content_md5_is_checked() -> None:
    one = checksums.create("MD5")
    one.update(b"data")
    given = base64.b64encode(hashlib.md5(b"data").digest()).decode()
    checksums.require("MD5", given, one)
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for text, code in ((other, "BadDigest"), ("x", "InvalidDigest"), ("", "InvalidDigest")):
        with pytest.raises(ServiceError) as caught:
            checksums.require("MD5", text, one)
        assert (caught.value.code, caught.value.status) == (code, 400)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "é", "A" * 400])
def test_a_checksum_of_another_length_is_no_checksum(text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        checksums.require("CRC32", text, checksums.create("CRC32"))
    assert caught.value.code == "InvalidRequest"


def test_a_wrong_checksum_names_its_algorithm() -> None:
    text = base64.b64encode(zlib.crc32(b"x").to_bytes(4, "big")).decode()
    with pytest.raises(ServiceError, match="CRC32 you specified") as caught:
        checksums.require("CRC32", text, checksums.create("CRC32"))
    assert caught.value.code == "BadDigest"


def test_one_checksum_is_declared_at_most() -> None:
    assert checksums.declared({"x-amz-checksum-sha256": "a", "x-amz-checksum-type": "b"}) == {
        "SHA256": "a"
    }
    assert checksums.declared({"content-md5": "a"}) == {}
    with pytest.raises(ServiceError, match="single x-amz-checksum-"):
        checksums.declared({"x-amz-checksum-sha256": "a", "x-amz-checksum-crc32": "b"})


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ServiceError, match="unsupported"):
        checksums.create("CRC8")
