"""Who sent this? The same verification in gateway, control and objects, from the same published tables."""

from collections.abc import Callable

import msgspec

from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.settings import Home, Settings
from modelyard.gateway.heads import CHANGING, Head, HeadForm
from modelyard.store.published import Published
from modelyard.wire import keys, repeated, sealed, sigv4
from modelyard.wire.hashing import sha256_hex
from modelyard.wire.identify import scope_region
from modelyard.wire.signed import SignedForm, signed_form


def make_verifier(home: Home, clock: Clock) -> sigv4.Verifier:
    """A verifier over the home's key table and sealing key; sees each new table at the next request."""
    seal = sealed.Seal(sealed.create_or_load_key(home.sealing_key))
    return sigv4.Verifier(keys=key_table(home), seal=seal, now=clock.now)


def key_table(home: Home) -> Callable[[], keys.KeyTable]:
    """The newest published table at each call."""

    def decode(table: bytes) -> keys.KeyTable:
        return keys.decode_keys(msgspec.json.decode(table))

    return Published(home.run, "keys", decode=decode, empty=keys.EMPTY).current


def anonymous(settings: Settings) -> Principal:
    """Whom ``--no-auth`` takes every caller for: the account's root."""
    return Principal(
        kind="root",
        arn=f"arn:aws:iam::{settings.account}:root",
        id=settings.account,
        account=settings.account,
    )


def allow(call: Call) -> None:
    """The authoriser of today: every verified caller may do everything."""


Authenticated = tuple[Principal, str]
"""The caller, and the region of the signature's scope."""


class Authentication:
    """Verifies whole requests, those whose body is at hand."""

    def __init__(self, settings: Settings, verifier: sigv4.Verifier) -> None:
        self._settings = settings
        self._anonymous = anonymous(settings)
        self._verifier = verifier
        self._repeated = repeated.Repeated(verifier)

    def check(  # noqa: PLR0913 - the parts of a request
        self,
        *,
        family: sigv4.Family,
        service: str,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        joined: dict[str, str],
        body: bytes,
        may_be_unsigned: bool = False,
    ) -> Authenticated:
        """Raises ``ServiceError`` unless the signature is that of this request and body.

        ``may_be_unsigned``: a client may sign all but the body, and says so in what it signs.
        """
        path, _, query = target.partition("?")
        if not self._settings.auth:
            region = scope_region(query=query, headers=joined) or self._settings.region
            return self._anonymous, region
        opened = self._verifier.open_request(
            family=family, service=service, raw_query=query, headers=joined
        )
        actual = sha256_hex(body)
        if opened.declared_hash not in ("", actual, sigv4.UNSIGNED):
            raise sigv4.wrong_signature(family)
        sigv4.check(
            opened,
            family=family,
            method=method,
            raw_path=path,
            raw_query=query,
            headers=headers,
            payload_hash=sigv4.UNSIGNED
            if may_be_unsigned and opened.declared_hash == sigv4.UNSIGNED
            else actual,
        )
        return opened.principal, opened.region

    def invocation(self, head: Head, body: bytes) -> Authenticated:
        """Of an endpoint."""
        return self.of_head(head, body, service="sagemaker")

    def of_head(self, head: Head, body: bytes, *, service: str) -> Authenticated:
        """``check`` of the JSON family; what a client's requests have in common is read once."""
        form = head.form
        plan: repeated.Plan | None = form.plan if form is not None else None
        if plan is not None and plan.signer.service == service:
            principal = self._repeated.recognise(plan, head.target, head.joined, body)
            if principal is not None:
                return principal, plan.signer.region
        found = self.check(
            family="json",
            service=service,
            method=head.method,
            target=head.target,
            headers=head.headers,
            joined=head.joined,
            body=body,
        )
        if form is not None and self._settings.auth:
            # What was made of the last plan says yes no more: this one is of another day, or scope.
            form.plan, form.track = self._plan(head, service), None
        return found

    def signed(self, form: HeadForm, *, service: str = "sagemaker") -> SignedForm | None:
        """What says in C that requests of this form are signed, once ``of_head`` has verified one; else None."""
        plan: repeated.Plan | None = form.plan
        if plan is None or plan.signer.service != service:
            return None
        target, pieces, names = form.parts()
        return signed_form(plan, self._verifier, target=target, pieces=pieces, names=names)

    @property
    def key_table(self) -> Callable[[], keys.KeyTable]:
        """The newest table at each call."""
        return self._verifier.keys

    def _plan(self, head: Head, service: str) -> repeated.Plan | None:
        opened = self._verifier.open_request(
            family="json",
            service=service,
            raw_query=head.target.partition("?")[2],
            headers=head.joined,
        )
        return repeated.make_plan(
            opened,
            method=head.method,
            target=head.target,
            headers=head.joined,
            changing=CHANGING,
        )
