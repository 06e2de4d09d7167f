"""What OpenTelemetry's own environment variables say of traces: where they go, and which requests are traced. Pure.

Source of names, defaults and precedence: OpenTelemetry's specification, "Environment Variable Specification" and "OTLP Exporter
Configuration". What is asked for and cannot be done is refused; variables of other signals are not read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
_PREFIX = "OTEL_EXPORTER_OTLP_"
_PATH = "v1/traces"
_HEADER, _VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(r"[\x20-\x7e]*")
_PROTOCOL = "http/json"
VARIABLES = (
    f"{_PREFIX}ENDPOINT",
    f"{_PREFIX}TRACES_ENDPOINT",
    f"{_PREFIX}HEADERS",
    f"{_PREFIX}TRACES_HEADERS",
    f"{_PREFIX}CERTIFICATE",
    f"{_PREFIX}TRACES_CERTIFICATE",
    f"{_PREFIX}PROTOCOL",
    f"{_PREFIX}TRACES_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_TRACES_EXPORTER",
    "OTEL_SDK_DISABLED",
)
"""All that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Traces are on: which requests are sampled, and what the platform is called in them."""

    endpoint: str
    """Where spans are posted."""
    sampler: SamplerName = "parentbased_always_on"
    """Whether a request that no caller has decided about is traced, and whether callers may decide."""
    ratio: float = 1.0
    """Share of traces that a ``…traceidratio`` sampler takes."""
    service_name: str = "modelyard"
    """The resource attribute ``service.name``."""
    resource: dict[str, str] = field(default_factory=dict)
    """Further resource attributes."""
    certificate: str = ""
    """PEM file of the authority that the collector's certificate is checked against; empty: the system's."""


def read(variables: Mapping[str, str]) -> tuple[Tracing, dict[str, str]] | None:
    """How traces are made and which headers go with them, which may be secret; None: they are off.

    Raises ``ValueError`` for what is no value of a variable, or is not executed.
    """
    own = variables.get(f"{_PREFIX}TRACES_ENDPOINT", "").strip()
    base = variables.get(f"{_PREFIX}ENDPOINT", "").strip()
    is_disabled = variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = variables.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if not (own or base) or is_disabled or exporter == "none":
        return None
    if exporter != "otlp":
        raise ValueError(f"OTEL_TRACES_EXPORTER={exporter}: only otlp (or none) is executed.")
    protocol = _of_traces(variables, "PROTOCOL") or _PROTOCOL
    if protocol != _PROTOCOL:
        raise ValueError(
            f"{_PREFIX}PROTOCOL={protocol}: traces go out as {_PROTOCOL} only, which every OTLP/HTTP collector takes, as a "
            f"rule on port 4318; set {_PREFIX}TRACES_PROTOCOL={_PROTOCOL}."
        )
    resource = _pairs("OTEL_RESOURCE_ATTRIBUTES", variables.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    named = resource.pop("service.name", "")
    sampler = _sampler(variables.get("OTEL_TRACES_SAMPLER", "").strip())
    tracing = Tracing(
        endpoint=_checked(own or f"{base.rstrip('/')}/{_PATH}"),
        sampler=sampler,
        ratio=_ratio(sampler, variables.get("OTEL_TRACES_SAMPLER_ARG", "").strip()),
        service_name=variables.get("OTEL_SERVICE_NAME", "").strip() or named or "modelyard",
        resource=resource,
        certificate=_of_traces(variables, "CERTIFICATE"),
    )
    headers = _pairs(f"{_PREFIX}HEADERS", _of_traces(variables, "HEADERS"))
    if not all(_HEADER.fullmatch(name) and _VALUE.fullmatch(headers[name]) for name in headers):
        raise ValueError(f"{_PREFIX}HEADERS holds what is no HTTP header.")
    return tracing, headers


def _of_traces(variables: Mapping[str, str], name: str) -> str:
    """The variable for traces, or the one for all signals."""
    own = variables.get(f"{_PREFIX}TRACES_{name}", "").strip()
    return own or variables.get(f"{_PREFIX}{name}", "").strip()


def _checked(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or not (endpoint.isascii() and endpoint.isprintable()) or " " in endpoint:
        raise ValueError(f"{endpoint} is no http:// or https:// URL of a collector.")
    return endpoint


def _pairs(name: str, text: str) -> dict[str, str]:
    """``key=value,key=value``, percent-encoded."""
    found = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            # Not the pair itself: it may be a secret.
            raise ValueError(f"{name} is no list of key=value, separated by commas.")
        found[unquote(key.strip())] = unquote(value.strip())
    return found


def _sampler(text: str) -> SamplerName:
    for name in get_args(SamplerName):
        if (text or "parentbased_always_on") == name:
            found: SamplerName = name
            return found
    known = ", ".join(get_args(SamplerName))
    raise ValueError(f"OTEL_TRACES_SAMPLER={text} is not executed; known are {known}.")


def _ratio(sampler: SamplerName, text: str) -> float:
    if not sampler.endswith("traceidratio") or not text:
        return 1.0
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG={text} is no share between 0 and 1.")
    return ratio
