"""Sentences of a grammar as documents whose entities are known."""

from benchmarks.quality.home_assistant import Case
from benchmarks.quality.recognisers import tagged

from modelyard.domain.tagged_texts import Span


def test_a_value_that_has_a_name_is_an_entity_where_it_stands_and_a_number_is_none() -> None:
    values = {"name": "heater", "area": "living room", "temperature": "20"}
    template = "set the {name} in the {area} to {temperature}"
    case = Case("set the heater in the living room to 20", "HassSet", values, template)

    document = tagged(case)

    assert document.text == case.text
    assert document.spans == (Span(8, 14, "NAME"), Span(22, 33, "AREA"))
