"""What becomes of a training, by the state of its process."""

import pytest

from modelyard.domain.text_training import ATTEMPTS, next_phase


@pytest.mark.parametrize(
    ("state", "attempt", "stopping", "phase"),
    [
        ("", 0, False, "start"),
        ("", 1, False, "start"),
        ("starting", 1, False, "wait"),
        ("running", 1, False, "wait"),
        ("succeeded", 1, False, "trained"),
        ("succeeded", 1, True, "trained"),
        ("failed", 1, False, "failed"),
        ("dead", 1, False, "start"),
        ("dead", ATTEMPTS, False, "failed"),
        ("running", 1, True, "stop"),
        ("dead", 1, True, "stopped"),
        ("", 0, True, "stopped"),
    ],
)
def test_a_training_goes_on_ends_or_begins_again(
    state: str, attempt: int, stopping: bool, phase: str
) -> None:
    assert next_phase(state, attempt=attempt, stopping=stopping) == phase
