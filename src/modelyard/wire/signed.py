"""What a plan says of a head that was read, said in C of bytes that nobody has read.

``repeated`` verifies a request like the last from its headers; ``native.Signed`` from head and body as they came. It says no
more often: to another path than its own, and to whatever is not quite as clients send it. Then all is asked as without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.base.call import Principal
from modelyard.native import built
from modelyard.wire.canonical import is_plain
from modelyard.wire.keys import KeyTable, derive
from modelyard.wire.repeated import Plan
from modelyard.wire.sigv4 import SKEW_SECONDS, Verifier, epoch

if TYPE_CHECKING:
    from modelyard.native._native import Signed

_AUTHORIZATION, _TIMESTAMP, _LENGTH = "authorization", "x-amz-date", "content-length"
_DECLARED = "x-amz-content-sha256"
_HOLE = "\0"
_OF_BODY = _NO_VALUE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedForm:
    """Who has signed what ``signed`` says yes to; true for as long as the verifier's key table is this very ``keys``."""

    signed: "Signed"
    principal: Principal
    region: str
    keys: KeyTable


def signed_form(
    plan: Plan,
    verifier: Verifier,
    *,
    target: str,
    pieces: Sequence[bytes],
    names: Sequence[str],
    portable: bool = False,
) -> SignedForm | None:
    """Of heads that are ``pieces`` with a value of each of ``names`` in between, which the plan is for.

    None where C was not built, and for what is better verified in Python. ``portable``: as on a CPU that cannot hash.
    """
    signer, keys = plan.signer, verifier.keys()
    entry, midnight = keys.find(signer.key_id), _midnight(signer.date)
    canonical = _canonical(plan, target)
    places = {name: place for place, name in enumerate(names)}
    needed = {_AUTHORIZATION, _TIMESTAMP, _LENGTH, *plan.names}
    if built is None or entry is None or midnight is None:
        return None
    if not canonical or not needed <= places.keys():
        return None
    signed: Signed = built.Signed(
        pieces=tuple(pieces),
        canonical=canonical,
        holes=(*[places[name] for name in plan.names], _OF_BODY),
        authorization=places[_AUTHORIZATION],
        timestamp=places[_TIMESTAMP],
        length=places[_LENGTH],
        declared=places.get(_DECLARED, _NO_VALUE),
        before_signature=(plan.authorization + "Signature=").encode("latin-1"),
        scope=signer.scope.encode(),
        date=signer.date.encode(),
        midnight=midnight,
        skew=float(SKEW_SECONDS),
        key=derive(entry.secret, signer.date, signer.region, signer.service),
        portable=portable,
    )
    return SignedForm(signed=signed, principal=entry.principal, region=signer.region, keys=keys)


def _midnight(date: str) -> float | None:
    """When the date of a key began, in Unix seconds; None of what is no date."""
    try:
        return epoch(f"{date}T000000Z") if date.isdecimal() else None
    except ValueError:
        return None


def _canonical(plan: Plan, target: str) -> tuple[bytes, ...]:
    """The canonical request around what changes, which is one less; empty where the path is not signed as it is sent."""
    path = plan.path if target == plan.target else target
    if target != plan.target and not is_plain(target):
        return ()
    text = plan.canonical % (path, *[_HOLE] * len(plan.names), _HOLE)
    parts = text.encode().split(_HOLE.encode())
    return tuple(parts) if len(parts) == len(plan.names) + 2 else ()
