"""What becomes of each member of a request: a table beside each operation, checked and shown in the documentation.

*executed*: Modelyard does what AWS does with it. *recorded*: kept and echoed, without any effect. *refused*:
``UnsupportedOperation``, unless its value asks for nothing (false, empty, AWS's default). A member that the table does
not name came with a newer service model, and is refused alike.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.base.errors import Unsupported

Treatment = Literal["executed", "recorded", "refused"]


def _anything(_value: Any) -> bool:
    return True


def _asks_for_nothing(value: Any) -> bool:
    return value is False or value in ("", [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """``accepts`` tells the values that pass; ``note`` says to a reader which these are."""

    treatment: Treatment
    accepts: Callable[[Any], bool] = _anything
    note: str = ""


Members = Mapping[str, "Member | Members"]
"""Of a structure, or of each structure in a list, by name; a nested table is a member that is a structure."""

EXECUTED = Member(treatment="executed")
RECORDED = Member(treatment="recorded")
REFUSED = Member(treatment="refused", accepts=_asks_for_nothing)


def only(*values: Any) -> Member:
    """Executed for these values, refused for every other."""
    shown = ", ".join(str(value) for value in values)
    return Member(treatment="executed", accepts=lambda value: value in values, note=f"only {shown}")


def refused_unless(accepts: Callable[[Any], bool], note: str) -> Member:
    """Refused but for the values that ask for nothing; ``note`` describes these."""
    return Member(
        treatment="refused",
        accepts=lambda value: _asks_for_nothing(value) or accepts(value),
        note=note,
    )


def check(operation: str, members: Members, values: Mapping[str, Any], *, within: str = "") -> None:
    """Raise ``Unsupported`` that names the first refused member with a value that asks for something."""
    for name, value in present(values).items():
        member = members.get(name, REFUSED)
        path = f"{within}{name}"
        if isinstance(member, Member):
            if not member.accepts(value):
                raise Unsupported(_refusal(operation, path, value, member))
        else:
            for one in value if isinstance(value, list) else [value]:
                check(operation, member, one, within=f"{path}.")


def rows(members: Members, *, within: str = "") -> Iterator[tuple[str, Treatment, str]]:
    """Path, treatment and note of every member, for the documentation."""
    for name, member in members.items():
        path = f"{within}{name}"
        if isinstance(member, Member):
            yield path, member.treatment, member.note
        else:
            yield from rows(member, within=f"{path}.")


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The members that were given: without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


def _refusal(operation: str, path: str, value: Any, member: Member) -> str:
    shown = f" {value}" if isinstance(value, str | int | float) else ""
    note = f" (accepted: {member.note})" if member.note else ""
    return f"Modelyard does not execute {operation} with {path}{shown} yet{note}."
