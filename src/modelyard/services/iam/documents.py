"""Policy documents, checked as IAM checks them when they are stored. What passes here is what evaluation will rely on.

Nothing is ignored: an element or a condition operator that IAM does not know is refused, so that no statement can mean
less to the platform than to the person who wrote it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from modelyard.base.errors import ServiceError

Use = Literal["identity", "trust"]
"""An identity policy says what its holder may do; a trust policy says who may assume its role."""

VERSIONS = ("2012-10-17", "2008-10-17")
_DOCUMENT = {"Version", "Id", "Statement"}
_STATEMENT = {"Sid", "Effect", "Action", "NotAction", "Condition"}
_OF_USE: Mapping[Use, frozenset[str]] = {
    "identity": frozenset({"Resource", "NotResource"}),
    "trust": frozenset({"Principal", "NotPrincipal"}),
}
_PRINCIPALS = ("AWS", "Service", "Federated", "CanonicalUser")
_OPERATORS = {
    "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase",
    "StringLike", "StringNotLike",
    "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals",
    "NumericGreaterThan", "NumericGreaterThanEquals",
    "DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool", "BinaryEquals", "IpAddress", "NotIpAddress",
    "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "Null",
}  # fmt: skip
_SET_OPERATOR = re.compile(r"(?:(?:ForAllValues|ForAnyValue):)?(\w+?)(?:IfExists)?")
_ACTION = re.compile(r"\*|[\w-]+:[\w*?]+")
_SID = re.compile(r"[A-Za-z0-9]*")


def check(text: str, use: Use) -> None:
    """Raises ``MalformedPolicyDocument`` unless ``text`` is a policy of this use."""
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise _malformed("This policy contains invalid Json") from None
    if not isinstance(document, dict) or set(document) - _DOCUMENT:
        raise _malformed("Syntax errors in policy.")
    if document.get("Version", VERSIONS[0]) not in VERSIONS:
        raise _malformed("The policy document's Version must be 2012-10-17 or 2008-10-17.")
    sids = [_check_statement(statement, use) for statement in _statements(document)]
    named = [sid for sid in sids if sid]
    if len(set(named)) < len(named):
        raise _malformed("Statement IDs (SID) in a single policy must be unique.")


def shown(text: str) -> str:
    """As IAM answers documents: percent-encoded (RFC 3986), which clients undo."""
    return quote(text, safe="-_.~")


def size(text: str) -> int:
    """What counts against a quota: white space does not."""
    return len(text) - sum(text.count(blank) for blank in " \t\r\n")


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name is given twice")
    return values


def _statements(document: Mapping[str, Any]) -> list[Any]:
    statements = document.get("Statement")
    if isinstance(statements, dict):
        return [statements]
    if not isinstance(statements, list) or not statements:
        raise _malformed("Syntax errors in policy.")
    return statements


def _check_statement(statement: Any, use: Use) -> str:
    """Its Sid, empty where it has none."""
    if not isinstance(statement, dict):
        raise _malformed("Syntax errors in policy.")
    for name in statement.keys() - _STATEMENT - _OF_USE[use]:
        known = any(name in names for names in _OF_USE.values())
        raise _malformed(f"Has prohibited field {name}" if known else "Syntax errors in policy.")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed("Syntax errors in policy.")
    for action in _texts(statement, "Action", "NotAction"):
        if not _ACTION.fullmatch(action):
            raise _malformed(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
            )
    if use == "identity":
        for resource in _texts(statement, "Resource", "NotResource"):
            if resource != "*" and not resource.startswith(("arn:", "*")):
                raise _malformed(f'Resource {resource} must be in ARN format or "*".')
    else:
        _check_principal(statement)
    _check_conditions(statement.get("Condition", {}))
    sid = statement.get("Sid", "")
    if not isinstance(sid, str) or (use == "identity" and not _SID.fullmatch(sid)):
        raise _malformed("Statement IDs (SID) should be alpha-numeric.")
    return sid


def _texts(statement: Mapping[str, Any], *names: str) -> Iterator[str]:
    """The texts of the one of these elements that the statement has to have."""
    given = [name for name in names if name in statement]
    if len(given) != 1:
        raise _malformed(
            f"Policy statement must contain {names[0].lower()}s."
            if not given
            else "Syntax errors in policy."
        )
    value = statement[given[0]]
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str) or not text:
            raise _malformed("Syntax errors in policy.")
        yield text


def _check_principal(statement: Mapping[str, Any]) -> None:
    given = [name for name in ("Principal", "NotPrincipal") if name in statement]
    if len(given) != 1:
        raise _malformed("Missing required field Principal")
    principal = statement[given[0]]
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal:
        raise _malformed("Invalid principal in policy.")
    for kind in principal:
        if kind not in _PRINCIPALS:
            raise _malformed(f"Invalid principal in policy: {kind}")
        for _ in _texts(principal, kind):
            pass


def _check_conditions(conditions: Any) -> None:
    if not isinstance(conditions, dict):
        raise _malformed("Syntax errors in policy.")
    for operator, keys in conditions.items():
        match = _SET_OPERATOR.fullmatch(operator)
        if match is None or match[1] not in _OPERATORS:
            raise _malformed(f"Invalid Condition type : {operator}.")
        if not isinstance(keys, dict):
            raise _malformed("Syntax errors in policy.")
        for values in keys.values():
            for value in values if isinstance(values, list) else [values]:
                if not isinstance(value, str | int | float | bool):
                    raise _malformed("Syntax errors in policy.")


def _malformed(message: str) -> ServiceError:
    return ServiceError("MalformedPolicyDocument", message)
