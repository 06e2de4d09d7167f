"""Identifiers and randomness as a parameter, so that tests and simulations repeat exactly."""

import os
import random
import secrets
import string
from typing import Protocol

_KEY_ALPHABET = string.ascii_uppercase + "234567"
_SECRET_ALPHABET = string.ascii_letters + string.digits + "+/"


class RandomSource(Protocol):
    """Where every identifier, token and jitter of a component comes from."""

    def uniform(self) -> float:
        """A float in [0, 1)."""

    def hex(self, length: int) -> str:
        """``length`` lower-case hexadecimal digits."""

    def text(self, length: int, alphabet: str) -> str:
        """``length`` characters drawn from ``alphabet``."""


class SystemRandom:
    """The operating system's random numbers, fit for secrets; a forked child needs no reseeding."""

    def uniform(self) -> float:
        return (int.from_bytes(os.urandom(7), "big") >> 3) / (1 << 53)

    def hex(self, length: int) -> str:
        return secrets.token_hex((length + 1) // 2)[:length]

    def text(self, length: int, alphabet: str) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(length))


class FastRandom:
    """Request ids and load balancing on a hot path: unpredictable enough for these, never for secrets."""

    def __init__(self) -> None:
        self._random = random.Random(secrets.randbits(128))  # noqa: S311 - not for secrets

    def uniform(self) -> float:
        return self._random.random()

    def hex(self, length: int) -> str:
        return f"{self._random.getrandbits(4 * length):0{length}x}"

    def text(self, length: int, alphabet: str) -> str:
        return "".join(self._random.choices(alphabet, k=length))


class SeededRandom:
    """A repeatable source for tests and simulations; never for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def uniform(self) -> float:
        return self._random.random()

    def hex(self, length: int) -> str:
        return self.text(length, string.hexdigits[:16])

    def text(self, length: int, alphabet: str) -> str:
        return "".join(self._random.choice(alphabet) for _ in range(length))


def request_id(source: RandomSource) -> str:
    """An id in the form of a UUID, as AWS's services put it into ``x-amzn-RequestId``."""
    digits = source.hex(32)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class RequestIds:
    """Request ids for a hot path: a random start, then counting. Unique in a process, and across processes by chance."""

    def __init__(self, source: RandomSource) -> None:
        self.prefix = request_id(source)[:24]
        self.last = int(source.hex(11), 16)

    def __call__(self) -> str:
        self.last += 1
        return f"{self.prefix}{self.last:012x}"


def access_key_id(source: RandomSource, *, prefix: str = "AKIA") -> str:
    """20 characters; ``AKIA`` for a user's long-lived key, ``ASIA`` for a session's."""
    return prefix + source.text(16, _KEY_ALPHABET)


def secret_access_key(source: RandomSource) -> str:
    """40 characters, as AWS's secrets are."""
    return source.text(40, _SECRET_ALPHABET)
