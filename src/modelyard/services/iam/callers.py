"""Which user a call means that names none: the one that signed it."""

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.services.iam.entities import malformed


def caller_name(call: Call) -> str:
    """The calling user's name; empty for the account's root. Raises ``ValidationError`` for a role."""
    if call.principal.kind == "root":
        return ""
    if call.principal.kind != "user":
        raise malformed("Must specify userName when calling with non-User credentials")
    return Arn.parse(call.principal.arn).resource.rpartition("/")[2]
