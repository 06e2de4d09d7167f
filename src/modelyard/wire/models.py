"""The service models, loaded once a process: botocore's own files are the authority on every shape."""

import functools
from typing import Literal

from botocore.model import ServiceModel
from botocore.session import Session

Protocol = Literal["json", "rest-json", "rest-xml", "query"]
PROTOCOLS: tuple[Protocol, ...] = ("json", "rest-json", "rest-xml", "query")
"""What this package speaks. ``smithy-rpc-v2-cbor`` gets a module of its own and a place in this tuple."""


@functools.cache
def _session() -> Session:
    return Session()


@functools.cache
def load_service(name: str) -> ServiceModel:
    """The model of a service by botocore's name; raises ``botocore.exceptions.UnknownServiceError``."""
    return _session().get_service_model(name)


def protocol_of(service: ServiceModel) -> Protocol:
    """The protocol that requests of a service are read in. Raises ``ValueError`` for one not spoken here."""
    offered = service.metadata.get("protocols") or [service.metadata["protocol"]]
    for protocol in PROTOCOLS:
        if protocol in offered:
            return protocol
    raise ValueError(f"{service.service_name} speaks {offered}, none of which is implemented")
