"""Calling a bot's function: which one, for how long, and which error its failure is to who talks to the bot."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.lex.bot import Bot
from modelyard.domain.lex.code_hooks import (
    BadAnswer,
    HookCall,
    HookFailed,
    HookOutcome,
    read_answer,
)
from modelyard.store.resources import Json

HOOK_SECONDS = 30.0
"""AWS's limit of one call of a function."""
MARGIN_SECONDS = 1.0
"""Of the caller's time that is left for the answer."""


class FunctionUnknown(Exception):
    """Nobody has said where the function is."""


class FunctionUnreachable(Exception):
    """There is nobody at the address, or who is there has trouble of its own; the text says which."""


class FunctionFailed(Exception):
    """The function was called, and raised or died; the text says how."""


class Functions(Protocol):
    """Where functions are, by ARN."""

    async def invoke(self, arn: str, event: bytes, *, seconds: float) -> bytes:
        """The answer's bytes. Raises the errors above, and ``TimeoutError``."""


class CodeHooks:
    """Those of every bot."""

    def __init__(self, *, functions: Functions, clock: Clock) -> None:
        self._functions = functions
        self._clock = clock

    async def call(
        self, call: Call, bot: Bot, settings: Mapping[str, Any], hook: HookCall
    ) -> HookOutcome:
        """``settings`` are the alias's for the locale."""
        arn = function_of(settings)
        if arn is None:
            return _failed(
                "The bot wants to call a Lambda function, and its alias names none for this locale: give one in "
                "botAliasLocaleSettings (codeHookSpecification) with UpdateBotAlias."
            )
        left = call.deadline - self._clock.monotonic() - MARGIN_SECONDS
        seconds = max(0.001, min(HOOK_SECONDS, left))
        try:
            body = await self._functions.invoke(
                arn, msgspec.json.encode(hook.event), seconds=seconds
            )
            return read_answer(bot, body, now=self._clock.now())
        except FunctionUnknown:
            return _failed(
                f"Modelyard does not know where the Lambda function {arn} is. Start the platform with "
                f"--lambda {arn}=http://… (an address that takes events) or --lambda {arn}=MODULE:FUNCTION (Python)."
            )
        except TimeoutError:
            text = f"The Lambda function {arn} has not answered within {seconds:.0f} seconds."
            return _failed(text, is_timeout=True)
        except FunctionFailed as error:
            return _failed(f"The Lambda function {arn} failed: {error}")
        except BadAnswer as error:
            return _failed(f"The answer of the Lambda function {arn} cannot be used: {error}.")
        except FunctionUnreachable as error:
            text = f"The Lambda function {arn} cannot be reached: {error}"
            return HookFailed(error=ServiceError("BadGatewayException", text, status=502))


def function_of(settings: Mapping[str, Any]) -> str | None:
    """The ARN that an alias names."""
    named: Json = (settings.get("codeHookSpecification") or {}).get("lambdaCodeHook") or {}
    arn: str | None = named.get("lambdaARN")
    return arn


def _failed(text: str, *, is_timeout: bool = False) -> HookFailed:
    error = ServiceError("DependencyFailedException", text, status=424)
    return HookFailed(error=error, is_timeout=is_timeout)
