"""The sums of what endpoints hold."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.gateway.body_shares import BodyShares

BUDGET = 1000
bodies = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 400)), max_size=40)


@given(bodies)
def test_whoever_is_refused_holds_more_than_is_free_and_another_is_let_in(
    wanted: list[tuple[str, int]],
) -> None:
    shares, held = BodyShares(), dict.fromkeys("abcn", 0)
    for endpoint, size in wanted:
        free = BUDGET - sum(held.values()) - size
        if free < 0:
            continue
        if shares.grow(endpoint, size, counted=0, free=free):
            held[endpoint] += size
        else:
            assert held[endpoint] > 0 and held[endpoint] + size > free
            shares.release(endpoint, size)
    free = BUDGET - sum(held.values())
    assert free == 0 or shares.grow("n", free, counted=0, free=0)
    for endpoint, size in held.items():
        if size:
            shares.release(endpoint, size)
    assert shares.grow("a", BUDGET // 2, counted=0, free=BUDGET // 2)


def test_a_body_that_grows_is_counted_once() -> None:
    shares = BodyShares()
    assert shares.grow("a", 100, counted=0, free=900)
    assert shares.grow("a", 300, counted=100, free=700)
    assert not shares.grow("a", 450, counted=0, free=250)
    shares.release("a", 450)
    shares.release("a", 300)
    assert shares.grow("a", 500, counted=0, free=500)
