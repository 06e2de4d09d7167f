"""The hashes in C are hashlib's, for this CPU and for any other."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

native = pytest.importorskip("modelyard.native._native")  # There may have been no C compiler.
EDGES = (0, 1, 31, 32, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 65_537)
portables = pytest.mark.parametrize("portable", [False, True])


@portables
@pytest.mark.parametrize("size", EDGES)
def test_a_text_of_any_length_hashes_as_hashlib_says(size: int, portable: bool) -> None:
    data = bytes(number * 31 % 251 for number in range(size))
    assert native.sha256_hex(data, portable) == hashlib.sha256(data).hexdigest()


@portables
@given(data=st.binary(max_size=300), from_byte=st.integers(0, 16))
def test_any_bytes_at_any_address_hash_as_hashlib_says(
    portable: bool, data: bytes, from_byte: int
) -> None:
    view = memoryview(bytes(from_byte) + data)[from_byte:]
    assert native.sha256_hex(view, portable) == hashlib.sha256(data).hexdigest()


@portables
@given(key=st.binary(max_size=150), data=st.binary(max_size=300))
def test_any_key_authenticates_as_hmac_says(portable: bool, key: bytes, data: bytes) -> None:
    assert native.hmac_sha256_hex(key, data, portable) == hmac.digest(key, data, "sha256").hex()
