"""Where a bot's settings lead: a response, branches with conditions, a next step; and which of its hooks are called. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.domain.lex.conditions import parse
from modelyard.domain.lex.messages import Lookup
from modelyard.domain.lex.session import Json

_HOOKED = (
    ("initialResponseSetting", "codeHook"),
    ("intentConfirmationSetting", "codeHook"),
    ("intentConfirmationSetting", "elicitationCodeHook"),
)


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """What is said at a point of the conversation, and what comes next; None: the conversation's own course."""

    response: Json | None = None
    conditional: Json | None = None
    step: Json | None = None

    @property
    def is_set(self) -> bool:
        return bool(self.response or self.conditional or self.step)

    def without_response(self) -> "Path":
        """Somebody else has spoken."""
        return msgspec.structs.replace(self, response=None)

    @property
    def branches(self) -> bool:
        """Whether conditions decide the next step."""
        return bool((self.conditional or {}).get("active")) or (
            ((self.step or {}).get("dialogAction") or {}).get("type") == "EvaluateConditional"
        )


def path(setting: Mapping[str, Any] | None, name: str) -> Path:
    """``name`` is that of the members: ``capture``, ``failure``, ``success``…; ``initial`` and ``closing`` have plainer ones."""
    given = setting or {}
    plain = name in ("initial", "closing")
    return Path(
        response=given.get(f"{name}Response"),
        conditional=given.get("conditional" if plain else f"{name}Conditional"),
        step=given.get("nextStep" if plain else f"{name}NextStep"),
    )


def branch(conditional: Mapping[str, Any] | None, lookup: Lookup) -> Json:
    """The first branch whose condition holds, else the default one. Raises ``BadCondition``."""
    if not conditional or conditional.get("active") is False:
        return {}
    for one in conditional.get("conditionalBranches") or ():
        if parse(one["condition"]["expressionString"])(lookup):
            return dict(one)
    return dict(conditional.get("defaultBranch") or {})


def hooked_each_turn(intent: Mapping[str, Any]) -> bool:
    """Whether the function is called at every turn: where ``dialogCodeHook`` is enabled, and no point has a hook of its own."""
    if not (intent.get("dialogCodeHook") or {}).get("enabled"):
        return False
    places = [(intent.get(setting) or {}).get(hook) for setting, hook in _HOOKED]
    for slot in intent.get("slots") or ():
        capture = (slot.get("valueElicitationSetting") or {}).get("slotCaptureSetting") or {}
        places += [capture.get("codeHook"), capture.get("elicitationCodeHook")]
    return not any(places)


def is_called(hook: Mapping[str, Any] | None) -> bool:
    """Whether a point's own hook is."""
    return bool(
        hook and hook.get("enableCodeHookInvocation") and hook.get("active", True) is not False
    )
