"""The ``Date`` header of answers, made once a second at most, and only when something is answered."""

from email.utils import formatdate

from modelyard.base.clock import Clock


class Dates:
    """``header`` is HTTP's form of the clock's time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def header(self) -> str:
        second = int(self._clock.now())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text
