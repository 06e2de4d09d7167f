"""CloudWatch's alarms as a rollout sees them, by a test's word."""

from collections.abc import Collection

from modelyard.control.rollout_watch import NoAlarms


class RangBriefly(NoAlarms):
    """Every alarm left ALARM at ``until``."""

    until = 0.0

    def ringing(
        self, account: str, region: str, names: Collection[str], *, since: float
    ) -> tuple[str, ...]:
        return tuple(names) if self.until > since else ()
