"""Trace Context and sampling, by their recommendations, and OTLP's form of a span."""

import json

import pytest

from modelyard.domain.otlp import encode
from modelyard.domain.tracing import (
    SERVER,
    Event,
    Parent,
    Sampler,
    Span,
    read_parent,
    write_parent,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_parent_is_read_as_it_was_written() -> None:
    assert read_parent(write_parent(TRACE, SPAN), "a=1") == Parent(TRACE, SPAN, True, "a=1")


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [(f"00-{TRACE}-{SPAN}-00", False), (f"00-{TRACE}-{SPAN}-03", True),
     (f"cc-{TRACE}-{SPAN}-01-of-later", True)],
)  # fmt: skip
def test_flags_say_whether_it_is_sampled_and_later_versions_may_say_more(
    header: str, is_sampled: bool
) -> None:
    assert read_parent(header) == Parent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    ["", "nonsense", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
     f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more",
     f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1"],
)  # fmt: skip
def test_what_breaks_the_rules_is_no_parent(header: str) -> None:
    assert read_parent(header) is None


def test_a_tracestate_over_the_limit_is_dropped() -> None:
    found = read_parent(write_parent(TRACE, SPAN), "a" * 513)
    assert found is not None and found.state == ""


def test_a_parents_decision_is_heeded_by_samplers_that_are_based_on_it() -> None:
    yes, no = Parent(TRACE, SPAN, True), Parent(TRACE, SPAN, False)
    heeding = Sampler("parentbased_always_off", 1.0)
    assert heeding.takes(TRACE, yes) and not heeding.takes(TRACE, no)
    assert not heeding.takes(TRACE, None)
    assert Sampler("always_on", 1.0).takes(TRACE, no)
    assert not Sampler("always_off", 1.0).takes(TRACE, yes)


def test_a_share_is_taken_by_the_traces_own_digits_as_other_samplers_do() -> None:
    """By the lower 64 bits of the id, as OpenTelemetry's SDKs compare them."""
    sampler = Sampler("traceidratio", 0.25)
    assert sampler.takes("f" * 16 + "3fffffffffffffff", None)
    assert not sampler.takes("0" * 15 + "1" + "4000000000000000", None)
    assert not Sampler("traceidratio", 0.0).takes("f" * 16 + "0" * 16, None)
    assert Sampler("traceidratio", 1.0).takes("f" * 32, None)


def test_spans_of_one_process_share_a_resource_in_otlps_json() -> None:
    root = Span(TRACE, SPAN, "", "", "POST /", SERVER, 5, 9, "gateway", {"n": 1, "f": 0.5, "b": True, "s": "x"})  # fmt: skip
    child = Span(TRACE, "b" * 16, SPAN, "a=1", "queue", 1, 6, 4, "gateway", {}, [Event("sent", 6)])
    failed = Span(TRACE, "c" * 16, SPAN, "", "predict", 1, 6, 8, "w", {}, [], "status 500")
    document = json.loads(
        encode([root, child, failed], service_name="yard", version="1", resource={"k": "v"})
    )
    gateway, worker = document["resourceSpans"]
    assert {"key": "service.instance.id", "value": {"stringValue": "gateway"}} in gateway[
        "resource"
    ]["attributes"]
    first, second = gateway["scopeSpans"][0]["spans"]
    assert "parentSpanId" not in first and first["startTimeUnixNano"] == "5"
    assert [one["value"] for one in first["attributes"]] == [
        {"intValue": "1"}, {"doubleValue": 0.5}, {"boolValue": True}, {"stringValue": "x"},
    ]  # fmt: skip
    assert (second["parentSpanId"], second["traceState"]) == (SPAN, "a=1")
    assert second["endTimeUnixNano"] == "6", "no span ends before it began"
    (third,) = worker["scopeSpans"][0]["spans"]
    assert third["status"] == {"code": 2, "message": "status 500"}
