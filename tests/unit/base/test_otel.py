"""OpenTelemetry's environment variables, by its specification."""

import pytest

from modelyard.base.otel import Tracing, read

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318/"}
TRACES = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c.example/custom"}


def tracing(variables: dict[str, str]) -> Tracing:
    found = read(variables)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "yard"},
        {**HERE, "OTEL_SDK_DISABLED": "true"},
        {**HERE, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_or_where_they_are_disabled_there_are_no_traces(
    variables: dict[str, str],
) -> None:
    assert read(variables) is None


def test_the_common_endpoint_gets_the_signals_path_and_the_traces_own_stays_as_it_is() -> None:
    assert tracing(HERE).endpoint == "http://localhost:4318/v1/traces"
    assert tracing({**HERE, **TRACES}).endpoint == "https://c.example/custom"


def test_headers_are_percent_decoded_and_those_for_traces_win() -> None:
    common = {**HERE, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20abc, x-team=ml"}
    found = read(common)
    assert found is not None and found[1] == {"Authorization": "Bearer abc", "x-team": "ml"}
    found = read({**common, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "k=v"})
    assert found is not None and found[1] == {"k": "v"}


def test_the_service_has_a_name_and_the_resource_its_attributes() -> None:
    assert tracing(HERE).service_name == "modelyard"
    attributes = {**HERE, "OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment=lab"}
    assert tracing(attributes).service_name == "a"
    assert tracing(attributes).resource == {"deployment.environment": "lab"}
    assert tracing({**attributes, "OTEL_SERVICE_NAME": "b"}).service_name == "b"


def test_the_sampler_and_its_share() -> None:
    assert tracing(HERE).sampler == "parentbased_always_on"
    tenth = {**HERE, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    found = tracing({**tenth, "OTEL_TRACES_SAMPLER_ARG": "0.1"})
    assert (found.sampler, found.ratio) == ("parentbased_traceidratio", 0.1)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "is no http:// or https:// URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:x"}, "is no http:// or https:// URL"),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/json only"),
        ({**HERE, "OTEL_TRACES_EXPORTER": "zipkin"}, "only otlp"),
        ({**HERE, "OTEL_TRACES_SAMPLER": "xray"}, "xray is not executed"),
        (
            {**HERE, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
            "no share between 0 and 1",
        ),
        ({**HERE, "OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "is no list of key=value"),
        ({**HERE, "OTEL_EXPORTER_OTLP_HEADERS": "k=a%0Ab"}, "is no HTTP header"),
    ],
)
def test_what_cannot_be_done_is_refused(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        read(variables)
    assert "secret" not in str(refused.value)
