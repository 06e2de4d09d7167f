import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape

import modelyard.services
from modelyard.base.errors import Unsupported
from modelyard.services.members import (
    EXECUTED,
    RECORDED,
    REFUSED,
    Member,
    Members,
    check,
    only,
    refused_unless,
    rows,
)

TABLE: Members = {
    "Name": EXECUTED,
    "Notes": RECORDED,
    "Secret": REFUSED,
    "Mode": only("Plain", 0),
    "Capture": refused_unless(lambda capture: capture["On"] is False, "On false"),
    "Parts": {"Kind": EXECUTED, "Extra": REFUSED},
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"Name": "n", "Notes": "x"},
        {"Secret": False},
        {"Secret": ""},
        {"Secret": []},
        {"Secret": {}},
        {"Secret": None},
        {"Mode": None, "Parts": None},
        {"Mode": "Plain"},
        {"Mode": 0},
        {"Capture": {"On": False}},
        {"Parts": {"Kind": "k"}},
        {"Parts": [{"Kind": "k"}, {"Extra": {}}]},
        {"Newer": False},
    ],
)
def test_what_is_executed_recorded_or_asks_for_nothing_passes(values: dict[str, Any]) -> None:
    check("Do", TABLE, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Secret": True}, "Secret True"),
        ({"Secret": 0}, "Secret 0"),
        ({"Secret": {"a": 1}}, "Secret yet"),
        ({"Mode": "Fancy"}, "Mode Fancy yet (accepted: only Plain, 0)"),
        ({"Capture": {"On": True}}, "Capture yet (accepted: On false)"),
        ({"Parts": [{"Kind": "k"}, {"Extra": "x"}]}, "Parts.Extra x"),
        ({"Newer": "x"}, "Newer x"),
    ],
)
def test_what_is_refused_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported) as caught:
        check("Do", TABLE, values)
    assert f"does not execute Do with {message}" in caught.value.message


def test_a_table_can_be_shown() -> None:
    assert list(rows(TABLE)) == [
        ("Name", "executed", ""),
        ("Notes", "recorded", ""),
        ("Secret", "refused", ""),
        ("Mode", "executed", "only Plain, 0"),
        ("Capture", "refused", "On false"),
        ("Parts.Kind", "executed", ""),
        ("Parts.Extra", "refused", ""),
    ]


NAMES = {"cost_explorer": ("ce",), "lex": ("lexv2-models", "lexv2-runtime")}
"""botocore's names of services whose modules bear better ones."""


def tables() -> Iterator[Any]:
    """Every table of the services, beside the input shape that it is about."""
    session = botocore.session.get_session()
    prefix = modelyard.services.__name__ + "."
    for module_info in pkgutil.walk_packages(modelyard.services.__path__, prefix):
        module = importlib.import_module(module_info.name)
        declared: Mapping[str, Members] = getattr(module, "MEMBERS", {})
        service_name = module_info.name.removeprefix(prefix).split(".")[0]
        for operation, members in declared.items():
            names = NAMES.get(service_name, (service_name.replace("_", "-"),))
            services = [session.get_service_model(name) for name in names]
            (service,) = (one for one in services if operation in one.operation_names)
            shape = service.operation_model(operation).input_shape
            yield pytest.param(members, shape, id=operation)


@pytest.mark.parametrize(("members", "shape"), list(tables()))
def test_a_table_names_every_member_of_its_operation(members: Members, shape: Shape) -> None:
    assert dict(_differences(members, shape, "")) == {}


def _differences(members: Members, shape: Any, path: str) -> Iterator[tuple[str, str]]:
    if shape.type_name == "list":
        shape = shape.member
    for name in set(shape.members) - set(members):
        yield f"{path}{name}", "is not in the table"
    for name in set(members) - set(shape.members):
        yield f"{path}{name}", "is not in the service model"
    for name, member in members.items():
        if not isinstance(member, Member) and name in shape.members:
            yield from _differences(member, shape.members[name], f"{path}{name}.")
