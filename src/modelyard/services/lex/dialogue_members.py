"""What becomes of the members that say how a conversation goes: tables that intents and slots share."""

from modelyard.services.members import EXECUTED, RECORDED, Member, Members, refused_unless

NOT_ACTIVE: Member = refused_unless(lambda setting: not setting.get("active"), "active false")
_HOOK = EXECUTED
RESPONSE: Members = {"messageGroups": EXECUTED, "allowInterrupt": RECORDED}
"""Nobody interrupts a text."""
PROMPT: Members = {
    "messageGroups": EXECUTED,
    "maxRetries": EXECUTED,
    "allowInterrupt": RECORDED,
    "messageSelectionStrategy": EXECUTED,
    "promptAttemptsSpecification": RECORDED,
}
"""The attempts' settings are about spoken and keyed input."""


def ways(*names: str) -> Members:
    """The members of each point of a conversation: what is said, under which conditions it goes where."""
    return {
        member: treatment
        for name in names
        for member, treatment in (
            (f"{name}Response", RESPONSE),
            (f"{name}NextStep", EXECUTED),
            (f"{name}Conditional", EXECUTED),
        )
    }


FULFILMENT: Members = {
    "enabled": EXECUTED,
    "postFulfillmentStatusSpecification": ways("success", "failure", "timeout"),
    "fulfillmentUpdatesSpecification": NOT_ACTIVE,
    "active": EXECUTED,
}
CONFIRMATION: Members = {
    "promptSpecification": PROMPT,
    "active": EXECUTED,
    **ways("confirmation", "declination", "failure"),
    "codeHook": _HOOK,
    "elicitationCodeHook": _HOOK,
}
CLOSING: Members = {
    "closingResponse": RESPONSE,
    "active": EXECUTED,
    "nextStep": EXECUTED,
    "conditional": EXECUTED,
}
INITIAL: Members = {
    "initialResponse": RESPONSE,
    "nextStep": EXECUTED,
    "conditional": EXECUTED,
    "codeHook": _HOOK,
}
CAPTURE: Members = {
    **ways("capture", "failure"),
    "codeHook": _HOOK,
    "elicitationCodeHook": _HOOK,
}
