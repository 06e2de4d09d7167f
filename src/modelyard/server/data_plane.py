"""Where the AI services find their models: workers of the platform's reserved account, and the installed packs as objects."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Limits
from modelyard.control.fleets import ObjectReader, StoredObject
from modelyard.domain.chain import Final
from modelyard.server.replicas import Replicas
from modelyard.services.hosted_models import ACCOUNT, BUCKET
from modelyard.transport.frames import RequestMeta

_OK, _BAD_REQUESTS = 200, range(400, 500)


class LocalDataPlane:
    """``services.hosted_models.DataPlane`` over UNIX sockets."""

    def __init__(self, *, home: Home, limits: Limits, clock: Clock, random: RandomSource) -> None:
        self._replicas = Replicas(
            home=home,
            limits=limits,
            clock=clock,
            random=random,
            own=lambda endpoint: endpoint.account == ACCOUNT,
        )
        self.run = self._replicas.run

    def is_routed(self, account: str, region: str, name: str) -> bool:
        """Whether the endpoint is in the routing table now."""
        return self._replicas.find(account, region, name) is not None

    async def ask(
        self,
        account: str,
        region: str,
        name: str,
        *,
        body: bytes,
        content_type: str,
        seconds: float,
    ) -> bytes:
        """The answer's body. Raises ``ServiceError``."""
        route = self._replicas.find(account, region, name)
        if route is None:
            raise ServiceError(
                "ServiceUnavailableException", f"The model {name} is being restarted.", status=503
            )
        meta = RequestMeta(content_type=content_type, accept=content_type)
        _, outcome = await self._replicas.ask(route, meta=meta, body=body, seconds=seconds)
        return _body(outcome, name)


def _body(outcome: Final | ServiceError, name: str) -> bytes:
    if isinstance(outcome, ServiceError):
        if outcome.status == 429:
            raise ServiceError("ThrottlingException", "Rate exceeded", status=429)
        raise ServiceError(
            "InternalServerException",
            f"The model {name} did not answer: {outcome.message}",
            status=500,
        )
    if outcome.status == _OK:
        return outcome.body
    said = outcome.body.decode("utf-8", "replace")[:1000]
    if outcome.status in _BAD_REQUESTS:
        raise ServiceError("InvalidRequestException", said)
    raise ServiceError("InternalServerException", f"The model {name} failed: {said}", status=500)


class _PackArchive(NamedTuple):
    """``control.fleets.StoredObject`` of an installed pack."""

    etag: str
    size: int
    path: Path


class PackedObjects:
    """An object store that also has the installed packs, in a bucket that no user can make."""

    def __init__(self, objects: ObjectReader, packs: Path) -> None:
        self._objects = objects
        self._packs = packs

    def head(self, bucket: str, key: str) -> StoredObject | None:
        """The archive of a pack, while it has the content that the key names."""
        if bucket != BUCKET:
            return self._objects.head(bucket, key)
        name, _, content = key.partition("/")
        path = self._packs / name / "model.tar"
        with contextlib.suppress(FileNotFoundError):
            return _PackArchive(etag=content, size=path.stat().st_size, path=path)
        return None
