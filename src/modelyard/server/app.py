"""The path of every control-plane call, as a list: ``STEPS`` of ``Pipeline`` in the order in which they run.

A step takes the exchange, fills in what it finds out and returns; it raises ``ServiceError`` to refuse. Authentication
stands before parsing, because the signature covers the bytes that came; authorisation after it, because it is
about the operation and the resource.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from botocore import xform_name
from botocore.model import ServiceModel

from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.base.ids import RandomSource, request_id
from modelyard.gateway.heads import Head
from modelyard.wire import codec, identify, models

logger = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[..., Awaitable[Mapping[str, Any] | None]]
Registry = Mapping[str, Mapping[str, Operation]]
CALL_SECONDS = 60.0
"""Deadline of a control-plane call."""


class Authenticate(Protocol):
    """Who sent this? Raises ``ServiceError``; returns the principal and the region of the signature's scope."""

    def __call__(
        self, service: ServiceModel, operation: str, request: "Request"
    ) -> tuple[Principal, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What arrived. ``target`` is path and query as sent; ``headers`` have lower-case names, in order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    head: Head | None = None
    """Where it came over a connection."""

    def mapping(self) -> dict[str, str]:
        """The headers by name; of repeated ones, joined by commas as HTTP says."""
        if self.head is not None:
            return self.head.joined
        joined: dict[str, str] = {}
        for name, value in self.headers:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        return joined


@dataclass(slots=True)
class Exchange:
    """One call on its way through the steps."""

    request: Request
    request_id: str
    headers: dict[str, str] = field(default_factory=dict)
    service: ServiceModel | None = None
    operation: str = ""
    principal: Principal | None = None
    region: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    call: Call | None = None
    result: Mapping[str, Any] | ServiceError | None = None


class Pipeline:
    """All that a call passes. ``authorise`` raises to deny; ``audit`` sees every outcome, denials included."""

    def __init__(
        self,
        *,
        registry: Registry,
        authenticate: Authenticate,
        authorise: Callable[[Call], None],
        audit: Callable[[Call, Mapping[str, Any] | ServiceError | None], None],
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self.observe: Callable[[Exchange, int, float], None] | None = None
        """Told of each call that was answered: its status, and when it began (epoch)."""
        self._registry = registry
        self._authenticate = authenticate
        self._authorise = authorise
        self._audit = audit
        self._clock = clock
        self._random = random
        self.STEPS: tuple[Callable[[Exchange], Awaitable[None] | None], ...] = (
            self._identify_service,
            self._find_operation,
            self._verify_signature,
            self._parse_parameters,
            self._make_call,
            self._check_authorisation,
            self._perform,
        )

    async def handle(self, request: Request) -> codec.Response:
        """Answer one request; never raises but for cancellation."""
        exchange = Exchange(request, request_id(self._random), headers=request.mapping())
        begun = self._clock.now()
        try:
            for step in self.STEPS:
                outcome = step(exchange)
                if outcome is not None:
                    await outcome
        except ServiceError as error:
            exchange.result = error
        except Exception:
            # The server's outermost step: a bug becomes an answer with an id that finds this traceback.
            logger.exception("request %s %s", exchange.request_id, exchange.operation)
            exchange.result = ServiceError(
                "InternalFailure",
                f"Modelyard failed on request {exchange.request_id}; its log has the traceback: "
                "logs/control.log in the home.",
                status=500,
            )
        if exchange.call is not None:
            self._audit(exchange.call, exchange.result)
        answer = self._answer(exchange)
        if self.observe is not None:
            self.observe(exchange, answer.status, begun)
        return answer

    def _identify_service(self, exchange: Exchange) -> None:
        path, _, query = exchange.request.target.partition("?")
        name = identify.identify(
            method=exchange.request.method, path=path, query=query, headers=exchange.headers
        )
        if name is None:
            raise ServiceError(
                "MissingAuthenticationTokenException",
                "The request is not signed and names no AWS service. Set AWS_ENDPOINT_URL and credentials "
                "with `eval $(modelyard env)`.",
                status=403,
            )
        if name not in self._registry:
            raise Unsupported(f"Modelyard does not implement the service {name}.")
        exchange.service = models.load_service(name)

    def _find_operation(self, exchange: Exchange) -> None:
        request = exchange.request
        exchange.operation = codec.find_operation(
            _known(exchange.service),
            method=request.method,
            uri=request.target,
            headers=exchange.headers,
            body=request.body,
        )

    def _verify_signature(self, exchange: Exchange) -> None:
        exchange.principal, exchange.region = self._authenticate(
            _known(exchange.service), exchange.operation, exchange.request
        )

    def _parse_parameters(self, exchange: Exchange) -> None:
        service = _known(exchange.service)
        if exchange.operation not in self._registry[service.service_name]:
            raise Unsupported(
                f"Modelyard does not execute {service.service_name}:{exchange.operation} yet."
            )
        exchange.parameters = codec.parse(
            service,
            exchange.operation,
            method=exchange.request.method,
            uri=exchange.request.target,
            headers=exchange.headers,
            body=exchange.request.body,
        )

    def _make_call(self, exchange: Exchange) -> None:
        principal = _known(exchange.principal)
        exchange.call = Call(
            principal=principal,
            account=principal.account,
            region=exchange.region,
            action=f"{_known(exchange.service).signing_name}:{exchange.operation}",
            request_id=exchange.request_id,
            deadline=self._clock.monotonic() + CALL_SECONDS,
            invocation_id=exchange.headers.get("amz-sdk-invocation-id", ""),
        )

    def _check_authorisation(self, exchange: Exchange) -> None:
        self._authorise(_known(exchange.call))

    async def _perform(self, exchange: Exchange) -> None:
        service = _known(exchange.service)
        operation = self._registry[service.service_name][exchange.operation]
        arguments = {xform_name(name): value for name, value in exchange.parameters.items()}
        exchange.result = await operation(_known(exchange.call), **arguments)

    def _answer(self, exchange: Exchange) -> codec.Response:
        return codec.serialize(
            # A request that names no service gets its refusal in the form that most clients read.
            exchange.service or models.load_service("sagemaker"),
            exchange.operation,
            exchange.result if exchange.result is not None else {},
            request_id=exchange.request_id,
            headers=exchange.headers,
        )


def _known(value: T | None) -> T:
    """A value that an earlier step has filled in."""
    assert value is not None, "the steps are out of order"
    return value
