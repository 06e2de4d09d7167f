"""The access keys that signatures are verified with: a published table, and the keys derived from its secrets."""

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from modelyard.base.call import Principal
from modelyard.wire.hashing import HmacSha256

DERIVED_LIMIT = 4096
"""Signing keys kept, one for each access key, date, region and service in use; the least recently used goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """One access key."""

    secret: str
    principal: Principal
    active: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class KeyTable:
    """All long-lived access keys of the platform; sessions carry theirs in their tokens."""

    entries: dict[str, KeyEntry]

    def find(self, access_key_id: str) -> KeyEntry | None:
        """None for a key that does not exist or is inactive: a caller cannot tell them apart."""
        entry = self.entries.get(access_key_id)
        return entry if entry is not None and entry.active else None


EMPTY = KeyTable({})


def decode_keys(table: Any) -> KeyTable:
    """The published form: ``{"keys": {id: {"secret", "principal": {...}, "active"}}}``."""
    return KeyTable(
        {
            key_id: KeyEntry(
                secret=entry["secret"],
                principal=Principal(**{**entry["principal"], "access_key_id": key_id}),
                active=entry["active"],
            )
            for key_id, entry in table["keys"].items()
        }
    )


class SigningKeys:
    """Derived keys by secret and scope. Deriving costs four HMACs, more than the verification itself."""

    def __init__(self) -> None:
        self._derived: OrderedDict[tuple[str, str, str, str], HmacSha256] = OrderedDict()

    def get(self, secret: str, date: str, region: str, service: str) -> HmacSha256:
        """What signs with it."""
        scope = (secret, date, region, service)
        key = self._derived.get(scope)
        if key is None:
            key = HmacSha256(derive(secret, date, region, service))
            self._derived[scope] = key
            if len(self._derived) > DERIVED_LIMIT:
                self._derived.popitem(last=False)
        else:
            self._derived.move_to_end(scope)
        return key


def derive(secret: str, date: str, region: str, service: str) -> bytes:
    """The HMAC chain of SigV4: secret, date, region, service, ``aws4_request``."""
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
