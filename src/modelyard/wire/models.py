"""The service models, loaded once a process: botocore's own files are the authority on every shape."""

import functools
from collections.abc import Mapping
from typing import Literal

from botocore.model import ServiceModel
from botocore.session import Session

from modelyard.wire import smithy_rpc

Protocol = Literal["json", "rest-json", "rest-xml", "query", "smithy-rpc-v2-cbor"]
PROTOCOLS: tuple[Protocol, ...] = ("json", "rest-json", "rest-xml", "query", "smithy-rpc-v2-cbor")
"""What this package speaks; where a request does not tell, the first that its service offers."""


@functools.cache
def _session() -> Session:
    return Session()


@functools.cache
def load_service(name: str) -> ServiceModel:
    """The model of a service by botocore's name; raises ``botocore.exceptions.UnknownServiceError``."""
    return _session().get_service_model(name)


def protocol_of(service: ServiceModel, headers: Mapping[str, str] | None = None) -> Protocol:
    """The protocol of a request, of those that its service offers. Raises ``ValueError`` for one not spoken here.

    ``headers`` have lower-case names. Clients of one service differ: Go takes CBOR, Python JSON, older ones queries.
    """
    offered = _offered(service)
    if headers is not None and len(offered) > 1:
        said = _said(headers)
        if said in offered:
            return said
    return offered[0]


@functools.cache
def _offered(service: ServiceModel) -> tuple[Protocol, ...]:
    """What a service offers and this package speaks, the preferred one first."""
    named = service.metadata.get("protocols") or [service.metadata["protocol"]]
    found = tuple(protocol for protocol in PROTOCOLS if protocol in named)
    if not found:
        raise ValueError(f"{service.service_name} speaks {named}, none of which is implemented")
    return found


def _said(headers: Mapping[str, str]) -> Protocol:
    if smithy_rpc.is_rpc(headers):
        return "smithy-rpc-v2-cbor"
    return "json" if "x-amz-target" in headers else "query"
