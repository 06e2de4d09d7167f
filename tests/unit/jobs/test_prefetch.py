import threading
from collections.abc import Iterator

import pytest

from modelyard.jobs.prefetch import Prefetch


def test_items_come_in_order_and_then_the_end() -> None:
    ahead = Prefetch(iter(range(100)), ahead=2)
    assert list(ahead) == list(range(100))
    with pytest.raises(StopIteration):
        next(ahead)
    ahead.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = Prefetch(source(), ahead=5)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
    ahead.close()


def test_no_more_items_are_made_than_are_wanted_ahead() -> None:
    made = []
    third = threading.Event()

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = Prefetch(source(), ahead=2)
    assert third.wait(10)
    ahead.close()
    ahead.close()
    assert made == [0, 1, 2]
