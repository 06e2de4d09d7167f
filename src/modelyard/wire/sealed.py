"""Session tokens that verify without a database: the session itself, sealed with the platform's key (AES-256-GCM)."""

import base64
import binascii
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from modelyard.base.call import Principal
from modelyard.wire.keys import KeyEntry

_FORMAT = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class InvalidToken(Exception):
    """Not a token of this platform, or changed since it was sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Temporary credentials. ``expires_at`` is Unix seconds."""

    access_key_id: str
    secret: str
    principal: Principal
    expires_at: float

    @property
    def entry(self) -> KeyEntry:
        principal = replace(self.principal, access_key_id=self.access_key_id)
        return KeyEntry(secret=self.secret, principal=principal)


class Seal:
    """Seals and opens sessions."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, session: Session) -> str:
        """The token; a nonce of its own makes two tokens of one session differ."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.msgpack.encode(asdict(session)), _FORMAT)
        return base64.b64encode(_FORMAT + nonce + sealed).decode()

    def open(self, token: str) -> Session:
        """Raises ``InvalidToken``. Whether it has expired is for the caller, who has the clock."""
        try:
            data = base64.b64decode(token, validate=True)
            nonce, sealed = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
            opened = self._cipher.decrypt(nonce, sealed, data[:1])
            return msgspec.msgpack.decode(opened, type=Session)
        except (InvalidTag, ValueError, binascii.Error, msgspec.MsgspecError) as error:
            raise InvalidToken from error


def create_or_load_key(path: Path) -> bytes:
    """The 32 bytes in ``path`` (mode 600), drawn at the first call."""
    try:
        return _read_key(path)
    except FileNotFoundError:
        descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # mode 600
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link does not replace the key that another process made meanwhile.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
        return _read_key(path)


def _read_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {_KEY_BYTES} bytes")
    return key
