"""Fixtures that every test may use, what hypothesis is told everywhere, and in what order tests run side by side."""

import gc
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


LONGEST_FIRST = (
    "tests/system/test_rollouts.py",
    "tests/system/test_commands.py",
    "tests/crash/test_rollouts_under_crashes.py",
    "tests/system/test_rogue_models.py",
    "tests/system/test_guides.py",
    "tests/system/test_autoscaling.py",
    "tests/system/test_rollouts_tried.py",
    "tests/system/test_lex_conversations.py",
    "tests/system/test_rehearsal.py",
    "tests/system/test_shadow_variants.py",
)
"""Modules that take minutes: the first to begin, so that none of them is the last to end."""
APART = frozenset(("tests/crash/test_platform_at_failpoints.py",))
"""Modules whose tests share nothing and take long: each test is work by itself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-c", action="store_true", help="as where there was no compiler: Python's twins"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--without-c"):
        assert "modelyard.native" not in sys.modules
        sys.modules["modelyard.native._native"] = None  # type: ignore[assignment]  # Not to be imported.


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says it loudly where the C is not what was tested."""
    from modelyard import native

    if native.built is not None:
        return
    asked = terminalreporter.config.getoption("--without-c")
    told = "in Python, as --without-c says" if asked else native.in_words()
    terminalreporter.write_line(f"The hot paths were tested {told}.", yellow=True, bold=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``: a module's tests run in one process, one after another, and share what they have made."""
    if config.getoption("dist") != "loadfile":
        return None
    # Not every environment that runs some of the tests has it.
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module, _, _ = nodeid.partition("::")
            return nodeid if module in APART else module

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        ranks = {module: rank for rank, module in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


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


@pytest.fixture(scope="session", autouse=True)
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ends the platforms of this process's tests, should it not come to it: killed, or out of time, it runs no fixture's end."""
    if importlib.util.find_spec("psutil") is None:
        yield  # The environment of heavy frameworks: its tests start no platform.
        return
    folder = tmp_path_factory.getbasetemp()
    program = Path(__file__).with_name("guard.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(folder)], stdin=subprocess.PIPE, start_new_session=True
    ):
        yield
