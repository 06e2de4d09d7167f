"""Tables that differ in one endpoint: what is decoded anew, and what a dispatcher is told."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.base.settings import Home
from modelyard.domain.routes import EndpointRoute, RoutingTable, VariantRoute
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.server.routing_table import Routes
from modelyard.store.published import Publisher


def endpoint(name: str, *, account: str = "1", config: str = "c") -> EndpointRoute:
    variant = VariantRoute(name="v", weight=1.0, config=config, replicas=())
    return EndpointRoute(
        name=name, arn=name, account=account, region="r", variants=(variant,), log_group=name
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def routes(home: Home, **options: Any) -> Routes:
    def channel(address: str, listener: object) -> Any:
        raise AssertionError("nobody has a replica here")

    dispatcher = Dispatcher(channel=channel, now=lambda: 0.0, queue_limit=1, wait_seconds=1)
    return Routes(home, dispatcher, **options)


def publish(home: Home, *endpoints: EndpointRoute) -> None:
    Publisher(home.run, "routes").publish(RoutingTable(endpoints=endpoints))


def test_an_endpoint_that_is_as_it_was_stays_the_same_object(home: Home) -> None:
    table = routes(home)
    publish(home, endpoint("a"), endpoint("b"))
    a, b = table.find("1", "r", "a"), table.find("1", "r", "b")
    assert (a, b) == (endpoint("a"), endpoint("b"))
    publish(home, endpoint("b", config="new"), endpoint("c"), endpoint("a"))
    assert table.find("1", "r", "a") is a
    assert table.find("1", "r", "b") == endpoint("b", config="new")
    assert table.find("1", "r", "c") == endpoint("c")


def test_an_endpoint_that_is_gone_is_not_found_and_not_kept(home: Home) -> None:
    table = routes(home)
    publish(home, endpoint("a"), endpoint("b"))
    before = table.find("1", "r", "a")
    publish(home, endpoint("b"))
    assert table.find("1", "r", "a") is None
    assert len(table) == 1
    publish(home, endpoint("a"))
    assert table.find("1", "r", "a") == before
    assert table.find("1", "r", "a") is not before


def test_only_what_is_its_own_is_found(home: Home) -> None:
    table = routes(home, own=lambda one: one.account == "2")
    publish(home, endpoint("a"), endpoint("a", account="2"))
    assert table.find("1", "r", "a") is None
    assert table.find("2", "r", "a") == endpoint("a", account="2")


def test_a_table_that_cannot_be_read_ends_no_look_and_judges_no_request(home: Home) -> None:
    table = routes(home)
    publish(home, endpoint("a"))
    table.look()
    publish(home, endpoint("b"))
    file = home.run / "routes.json"
    published = file.read_bytes()
    file.unlink()
    file.mkdir()  # What no process reads, as none reads a file that has no descriptor left.
    table.look()
    with pytest.raises(OSError, match="directory"):
        table.find("1", "r", "a")
    file.rmdir()
    file.write_bytes(published)
    table.look()
    assert table.find("1", "r", "b") == endpoint("b")
