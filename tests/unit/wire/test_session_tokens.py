"""Session tokens and the keys of long-lived ones."""

import base64
import hmac
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.call import Principal
from modelyard.wire import keys, sealed

WHO = Principal(kind="role", arn="arn:aws:sts::1:assumed-role/R/s", id="AROA:s", account="1")
SESSION = sealed.Session(
    access_key_id="ASIAEXAMPLE", secret="the-secret", principal=WHO, expires_at=1_700_000_000.5
)


def test_a_token_gives_its_session_back() -> None:
    seal = sealed.Seal(bytes(32))
    token = seal.close(SESSION)
    assert sealed.Seal(bytes(32)).open(token) == SESSION
    assert seal.close(SESSION) != token
    assert SESSION.secret not in token
    assert SESSION.entry.principal == replace(WHO, access_key_id="ASIAEXAMPLE")


@given(st.data())
def test_a_token_with_one_bit_changed_is_invalid(data: st.DataObject) -> None:
    seal = sealed.Seal(bytes(32))
    raw = bytearray(base64.b64decode(seal.close(SESSION)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(sealed.InvalidToken):
        seal.open(base64.b64encode(raw).decode())


@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode()))
def test_noise_is_no_token(text: str) -> None:
    with pytest.raises(sealed.InvalidToken):
        sealed.Seal(bytes(32)).open(text)


def test_another_platforms_token_is_invalid() -> None:
    with pytest.raises(sealed.InvalidToken):
        sealed.Seal(bytes(range(32))).open(sealed.Seal(bytes(32)).close(SESSION))


def test_the_sealing_key_is_drawn_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "sealing.key"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(sealed.create_or_load_key, [path] * 8))
    assert set(found) == {path.read_bytes()}
    assert len(found[0]) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["sealing.key"]


def test_a_sealing_key_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sealing.key"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="32 bytes"):
        sealed.create_or_load_key(path)


def test_a_table_is_decoded_as_it_was_published() -> None:
    principal = {"kind": "user", "arn": "arn:aws:iam::1:user/a", "id": "AIDA", "account": "1"}
    table = keys.decode_keys(
        {
            "keys": {
                "AKIA1": {"secret": "s", "principal": principal, "active": True},
                "AKIA2": {"secret": "t", "principal": principal, "active": False},
            }
        }
    )
    found = table.find("AKIA1")
    assert found is not None
    assert (found.secret, found.principal.access_key_id) == ("s", "AKIA1")
    assert table.find("AKIA2") is None
    assert table.find("AKIA3") is None


def test_the_documented_signing_key_is_derived() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    expected = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    assert keys.derive(secret, "20150830", "us-east-1", "iam").hex() == expected


def test_signing_keys_in_use_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "DERIVED_LIMIT", 2)
    derived: list[str] = []
    original = keys.derive

    def counted(secret: str, date: str, region: str, service: str) -> bytes:
        derived.append(region)
        return original(secret, date, region, service)

    monkeypatch.setattr(keys, "derive", counted)
    cache = keys.SigningKeys()
    for region in ("a", "b", "a", "c", "a", "b"):
        key = original("s", "20200101", region, "iam")
        signed = cache.get("s", "20200101", region, "iam").hexdigest(b"text")
        assert signed == hmac.digest(key, b"text", "sha256").hex()
    assert derived == ["a", "b", "c", "b"]
