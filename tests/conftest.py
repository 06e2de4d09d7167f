"""Fixtures that every test may use, and what hypothesis is told everywhere."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile(
    "any-machine",
    settings.default,  # what hypothesis chose by itself, such as the same cases on each run of CI
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any-machine")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def frozen() -> Iterator[None]:
    """What is there already is no garbage, as in a worker after its start: what collects often looks at nothing older."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
