"""What an endpoint's tags add to a policy."""

import pytest

from modelyard.base.errors import ValidationError
from modelyard.domain.rollout import Policy
from modelyard.domain.rollout_tags import check_tags, with_tags


def tags(**values: str) -> list[dict[str, str]]:
    return [
        {"Key": f"modelyard:{name.replace('_', '-')}", "Value": value}
        for name, value in values.items()
    ]


def test_without_tags_a_policy_is_what_it_was() -> None:
    policy = Policy(kind="CANARY", alarms=("a",))
    assert with_tags(policy, [{"Key": "team", "Value": "risk"}]) == policy


def test_an_alarm_of_the_dry_run_rolls_nothing_back() -> None:
    found = with_tags(Policy(alarms=("a", "b")), tags(dry_run_alarms="b  c b"))
    assert (found.alarms, found.dry_run) == (("a",), ("b", "c"))


def test_a_gate_is_one_of_two_and_any_other_word_is_refused_or_else_the_strictest() -> None:
    assert with_tags(Policy(), tags(rollout_gate="before-traffic")).gate == "before-traffic"
    wrong = tags(rollout_gate="sometimes")
    with pytest.raises(ValidationError, match="before-traffic or each-step"):
        check_tags(wrong)
    assert with_tags(Policy(), wrong).gate == "each-step"
    check_tags(tags(rollout_gate="each-step", dry_run_alarms="x"))


@pytest.mark.parametrize("text", ["x-tester", "=yes", "x tester=yes", "x-tester=", "x-tester= "])
def test_a_header_has_a_name_and_a_value(text: str) -> None:
    wrong = tags(route_header=text)
    with pytest.raises(ValidationError, match="X-Tester=yes"):
        check_tags(wrong)
    assert with_tags(Policy(), wrong).header == ("", "")
    assert with_tags(Policy(), tags(route_header="X-Tester=a=b c")).header == ("x-tester", "a=b c")
