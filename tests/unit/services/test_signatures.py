"""Each operation's method takes exactly the members that the service model gives it."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import OperationModel

import modelyard.services
from modelyard.services import registry

SERVICE_OF_MODULE = {
    "sagemaker": "sagemaker",
    "logs": "logs",
    "iam": "iam",
    "sts": "sts",
    "application_autoscaling": "application-autoscaling",
    "cloudwatch": "cloudwatch",
    "comprehend": "comprehend",
    "cost_explorer": "ce",
}


def operations() -> Iterator[Any]:
    """Every public async method of a class in services whose first parameter is a Call."""
    session = botocore.session.get_session()
    prefix = modelyard.services.__name__ + "."
    for module_info in pkgutil.walk_packages(modelyard.services.__path__, prefix):
        service_name = SERVICE_OF_MODULE.get(module_info.name.removeprefix(prefix).split(".")[0])
        if service_name is None or module_info.ispkg:
            continue
        module = importlib.import_module(module_info.name)
        service = session.get_service_model(service_name)
        known = {xform_name(name): name for name in service.operation_names}
        for class_name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != module.__name__:
                continue
            for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
                parameters = list(inspect.signature(method).parameters)
                if name.startswith("_") or parameters[1:2] != ["call"]:
                    continue
                yield pytest.param(
                    method,
                    service.operation_model(known[name]) if name in known else None,
                    id=f"{service_name}-{class_name}.{name}",
                )


def registered() -> Iterator[Any]:
    """What the registry has of the other services, whose classes have more methods that take a Call."""
    session = botocore.session.get_session()
    for service_name in sorted(registry.SERVICES.keys() - SERVICE_OF_MODULE.values() - {"s3"}):
        service = session.get_service_model(service_name)
        for kind, names in registry.SERVICES[service_name].items():
            for name in names:
                yield pytest.param(
                    getattr(kind, xform_name(name)),
                    service.operation_model(name),
                    id=f"{service_name}-{kind.__name__}.{name}",
                )


@pytest.mark.parametrize(("method", "operation"), [*operations(), *registered()])
def test_a_method_takes_the_operations_members(
    method: Any, operation: OperationModel | None
) -> None:
    assert operation is not None, "no operation is named so"
    shape = operation.input_shape
    members = {} if shape is None else {xform_name(name): name for name in shape.members}
    required = set() if shape is None else {xform_name(name) for name in shape.required_members}
    parameters = inspect.signature(method).parameters
    taken = {name: one for name, one in parameters.items() if name not in ("self", "call")}

    assert set(taken) == set(members)
    for name, parameter in taken.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        if name in required:
            assert parameter.default is inspect.Parameter.empty, name
        else:
            assert parameter.default is None, name
