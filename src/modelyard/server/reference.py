"""``docs/reference/operations.md``, from the code: every operation, and what becomes of each of its members.

python -m modelyard.server.reference > docs/reference/operations.md
"""

import inspect
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from botocore import xform_name

from modelyard.services import registry, sagemaker_runtime
from modelyard.services.members import Members, rows
from modelyard.services.s3 import access
from modelyard.services.s3.described import described_members
from modelyard.services.s3.operations import build_operations
from modelyard.store.objects import ObjectStore
from modelyard.wire import checksums
from modelyard.wire.models import load_service

_HEAD = """# Operations

Generated from the code by `make docs`; a test keeps it true. An operation that is not listed answers
`UnsupportedOperation` (HTTP 501), and so does a refused member, unless its value asks for nothing (false, empty, AWS's default).

*executed*: Modelyard does what AWS does with it. *recorded*: kept and echoed, without any effect. *refused*: see above.
A member without a row of its own is executed.
"""
_INVOKE: Mapping[str, tuple[str, str]] = {
    "EndpointName": ("executed", ""),
    "Body": ("executed", ""),
    "ContentType": ("executed", ""),
    "Accept": ("executed", ""),
    "CustomAttributes": ("recorded", "handed to the worker"),
    "TargetVariant": ("executed", ""),
    "InferenceId": ("recorded", ""),
    "TargetModel": ("refused", ""),
    "TargetContainerHostname": ("refused", ""),
    "EnableExplanations": ("refused", ""),
    "InferenceComponentName": ("refused", ""),
    "SessionId": ("refused", ""),
}
_NOT_STREAMED = ("TargetModel", "EnableExplanations")
"""Members that AWS's model of a streamed invocation has not got."""


def page() -> Iterator[str]:
    """The page, line by line."""
    yield _HEAD
    streamed = [row for row in _invoke_rows() if row[0] not in _NOT_STREAMED]
    runtime = {"InvokeEndpoint": [*_invoke_rows()], "InvokeEndpointWithResponseStream": streamed}
    name = "InvokeEndpointAsync"
    runtime[name] = list(_rows(sagemaker_runtime, name))
    yield from _service("sagemaker-runtime", runtime)
    yield from _service("s3", _s3_operations())
    for service, classes in sorted(registry.SERVICES.items()):
        if service == "sagemaker-runtime":
            continue
        yield from _service(
            service,
            {
                name: list(_rows(sys.modules[owner.__module__], name))
                for owner, names in classes.items()
                for name in names
            },
        )


def _invoke_rows() -> Iterator[tuple[str, str, str]]:
    for name, (treatment, note) in _INVOKE.items():
        yield name, treatment, note


def _s3_operations() -> dict[str, list[tuple[str, str, str]]]:
    """S3's members from the signatures: what an operation names it executes, the rest goes by ``access``' rules."""
    with tempfile.TemporaryDirectory() as folder:
        store = ObjectStore(Path(folder) / "objects")
        operations = build_operations(store, create_checksum=checksums.create)
        store.close()
    return {name: list(_s3_rows(name, method)) for name, method in operations.items()}


def _s3_rows(name: str, method: object) -> Iterator[tuple[str, str, str]]:
    shape = load_service("s3").operation_model(name).input_shape
    named = inspect.signature(method).parameters  # type: ignore[arg-type]
    for member in shape.members if shape is not None else ():
        snake = xform_name(member)
        if snake in named or snake in described_members():
            yield member, "executed", ""
        else:
            yield member, *access.treatment(snake)


def _rows(module: ModuleType, operation: str) -> Iterator[tuple[str, str, str]]:
    tables: Mapping[str, Members] = getattr(module, "MEMBERS", {})
    if operation in tables:
        yield from rows(tables[operation])


def _service(name: str, operations: Mapping[str, list[tuple[str, str, str]]]) -> Iterator[str]:
    all_of_them = len(load_service(name).operation_names)
    yield f"## {name}\n"
    yield (
        f"{len(operations)} of the {all_of_them} operations in botocore's model are executed: "
        + ", ".join(f"`{operation}`" for operation in operations)
        + ".\n"
    )
    for operation, members in operations.items():
        if members:
            yield f"### {operation}\n"
            yield "| member | | |\n|---|---|---|"
            for path, treatment, note in members:
                yield f"| `{path}` | {treatment} | {note} |"
            yield ""


def main() -> None:
    """Print the page."""
    sys.stdout.write("\n".join(page()).rstrip() + "\n")


if __name__ == "__main__":
    main()
