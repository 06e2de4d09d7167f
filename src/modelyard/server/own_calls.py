"""The platform's own calls about itself, ``/_modelyard/…``, which AWS has no service for: signed like AWS's, by the root."""

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.base.errors import ServiceError
from modelyard.base.settings import Home, Settings
from modelyard.control.ledgers import BookReader
from modelyard.server import steering
from modelyard.server.app import Request
from modelyard.server.authentication import Authentication
from modelyard.server.control_app import OwnHandler
from modelyard.server.reconciling import Reconciling
from modelyard.server.status import platform_status
from modelyard.server.stores import Stores

OWN_SERVICE = "modelyard"
"""Signing name of the platform's own calls."""


class OwnCalls:
    """``queue_trouble`` says why no asynchronous request is begun now, if none is."""

    def __init__(
        self,
        settings: Settings,
        *,
        stores: Stores,
        reconciling: Reconciling,
        authentication: Authentication,
        queue_trouble: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._reconciling = reconciling
        self._authentication = authentication
        self._queue_trouble = queue_trouble

    @property
    def handlers(self) -> dict[str, OwnHandler]:
        return {
            "GET /_modelyard/health": _health,
            "GET /_modelyard/status": self._status,
            "GET /_modelyard/rollouts": self._rollout,
            "GET /_modelyard/rollouts/report": self._report,
            "POST /_modelyard/rollouts": self._steer,
        }

    def require_root(self, request: Request) -> None:
        """Raises ``ServiceError`` unless a key of the account's root signed it."""
        principal, _ = self._authentication.check(
            family="json",
            service=OWN_SERVICE,
            method=request.method,
            target=request.target,
            headers=list(request.headers),
            joined=request.mapping(),
            body=request.body,
        )
        if principal.kind != "root":
            raise ServiceError(
                "AccessDeniedException", "Only the account's root may ask this.", status=403
            )

    async def _status(self, request: Request) -> Mapping[str, Any]:
        self.require_root(request)
        return await platform_status(
            self._settings,
            self._stores.resources,
            self._reconciling.processes,
            self._reconciling.zones_up,
            queue_trouble=self._queue_trouble(),
        )

    async def _rollout(self, request: Request) -> Mapping[str, Any]:
        self.require_root(request)
        return steering.state(self._stores.resources, self._settings.account, request.target)

    async def _report(self, request: Request) -> Mapping[str, Any]:
        self.require_root(request)
        books = BookReader(Home(self._settings.home).ledgers)
        store, account = self._stores.resources, self._settings.account
        return await steering.report(store, books, account, request.target)

    async def _steer(self, request: Request) -> Mapping[str, Any]:
        self.require_root(request)
        return await steering.steer(self._stores.resources, self._settings.account, request.target)


async def _health(request: Request) -> Mapping[str, Any]:
    """A sign of life, for who stands by."""
    return {"state": "running"}
