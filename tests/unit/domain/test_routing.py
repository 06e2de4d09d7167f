"""Variants by weight, replicas by what they have to do."""

import random
from collections import Counter

import pytest

from modelyard.base.errors import ServiceError
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.routing import choose_variant, least_outstanding


def _endpoint(**weights: float) -> EndpointRoute:
    variants = tuple(VariantRoute(name=n, weight=w, replicas=()) for n, w in weights.items())
    return EndpointRoute(name="e", arn="arn", account="1", region="r", variants=variants)


def test_the_split_follows_the_weights() -> None:
    source = random.Random(7)
    endpoint = _endpoint(a=1.0, b=2.0, c=0.0, d=7.0)
    drawn = 100_000
    counts = Counter(
        choose_variant(endpoint, target="", draw=source.random()).name for _ in range(drawn)
    )
    expected = {"a": 0.1 * drawn, "b": 0.2 * drawn, "d": 0.7 * drawn}
    chi_squared = sum((counts[n] - e) ** 2 / e for n, e in expected.items())
    assert counts["c"] == 0
    assert chi_squared < 13.8  # two degrees of freedom, one in a thousand


def test_a_target_beats_the_weights() -> None:
    assert choose_variant(_endpoint(a=1.0, b=0.0), target="b", draw=0.0).name == "b"


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ServiceError, match="Variant x not found"):
        choose_variant(_endpoint(a=1.0), target="x", draw=0.0)


def test_an_endpoint_whose_weights_are_all_zero_takes_no_traffic() -> None:
    with pytest.raises(ServiceError) as refused:
        choose_variant(_endpoint(a=0.0, b=0.0), target="", draw=0.5)
    assert refused.value.status == 503


def test_who_asks_for_a_fleet_gets_it_by_the_weights_of_its_variants_wherever_it_is() -> None:
    parts = [("a", 0.5, 1, 0.5), ("a", 0.5, 2, 0.5), ("b", 3.0, 1, 1.0), ("b", 0.0, 2, 0.0)]
    endpoint = EndpointRoute(
        name="e",
        arn="arn",
        account="1",
        region="r",
        variants=tuple(
            VariantRoute(name=name, weight=weight, fleet=fleet, share=share, replicas=())
            for name, weight, fleet, share in parts
        ),
    )
    places = [n / 100 for n in range(100)]
    green = Counter(choose_variant(endpoint, target="", draw=draw, fleet=2).name for draw in places)
    assert green == {"a": 25, "b": 75}, "b has no share of it yet, and its whole weight here"
    found = {choose_variant(endpoint, target="b", draw=draw, fleet=2).fleet for draw in places}
    assert found == {2}
    others = {
        (one.name, one.fleet)
        for one in (choose_variant(endpoint, target="", draw=d) for d in places)
    }
    assert others == {("a", 1), ("a", 2), ("b", 1)}, "nobody else reaches what has no share"
    assert choose_variant(endpoint, target="a", draw=0.0, fleet=3).fleet == 1


@pytest.mark.parametrize("turn", range(7))
def test_the_replica_with_the_least_to_do_is_chosen(turn: int) -> None:
    assert least_outstanding([3, 1, 2], turn=turn) == 1


def test_equal_replicas_take_turns() -> None:
    assert {least_outstanding([1, 1, 1], turn=turn) for turn in range(3)} == {0, 1, 2}
