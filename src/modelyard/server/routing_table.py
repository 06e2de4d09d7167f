"""The newest routing table, as a dispatcher needs it: what has not changed from one table to the next stays the same object."""

import logging
from collections.abc import Callable

import msgspec

from modelyard.base.settings import Home
from modelyard.domain.routes import EndpointRoute
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.store.published import Published

logger = logging.getLogger(__name__)


class _Rows(msgspec.Struct):
    """A published ``RoutingTable`` whose endpoints are not looked into yet."""

    endpoints: list[msgspec.Raw] = []


_rows = msgspec.json.Decoder(_Rows).decode
_endpoint = msgspec.json.Decoder(EndpointRoute).decode


class EndpointDecoder:
    """Decodes only what is new: a table of a thousand endpoints is published each time that one of them changes."""

    def __init__(self) -> None:
        self._known: dict[bytes, EndpointRoute] = {}

    def __call__(self, table: bytes) -> tuple[EndpointRoute, ...]:
        """The endpoints; those whose bytes are in the table before are the very objects of then."""
        before, self._known = self._known, {}
        for row in map(bytes, _rows(table).endpoints):
            self._known[row] = before.get(row) or _endpoint(row)
        return tuple(self._known.values())


class Routes:
    """The endpoints of the newest table that are ``own``, by their names; each new table goes to the dispatcher."""

    def __init__(
        self,
        home: Home,
        dispatcher: Dispatcher,
        *,
        own: Callable[[EndpointRoute], bool] = lambda _: True,
    ) -> None:
        self.published: Published[tuple[EndpointRoute, ...]] = Published(
            home.run, "routes", decode=EndpointDecoder(), empty=()
        )
        self._dispatcher = dispatcher
        self._own = own
        self._table: tuple[EndpointRoute, ...] = ()
        self._endpoints: dict[tuple[str, str, str], EndpointRoute] = {}
        self._is_blind = False

    def look(self) -> None:
        """As ``refresh``, where no request depends on it: what cannot be read, for want of a descriptor, is looked for again."""
        try:
            self.refresh()
        except OSError as error:
            if not self._is_blind:
                logger.warning("the routing table cannot be read: %s", error)
            self._is_blind = True
        else:
            self._is_blind = False

    def refresh(self) -> None:
        """Look whether there is a new table: one comparison where there is none."""
        table = self.published.current()
        if table is self._table:
            return
        self._table = table
        own = tuple(filter(self._own, table))
        self._endpoints = {(one.account, one.region, one.name): one for one in own}
        self._dispatcher.update(own)

    def find(self, account: str, region: str, name: str) -> EndpointRoute | None:
        """By the newest table."""
        self.refresh()
        return self._endpoints.get((account, region, name))

    def __len__(self) -> int:
        return len(self._endpoints)
