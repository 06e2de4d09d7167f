"""The dialogue manager: what a bot says and asks next, and when its code hook is called. Pure.

A turn is a generator. It yields a ``HookCall`` where the bot's function has to be called, is sent the outcome, and returns a
``Turn``. Nothing outside is changed meanwhile: a turn that ends with an error has not happened.

The course of an intent: its initial response; its required slots by priority, each asked for until its prompt's retries are over;
its confirmation; its fulfilment; its closing response. Settings of the bot lead elsewhere (``paths``), and so may a hook.
"""

from collections.abc import Callable, Generator

import msgspec

from modelyard.base.errors import ValidationError
from modelyard.domain.lex import messages as texts
from modelyard.domain.lex.bot import Bot, elicitation, filled
from modelyard.domain.lex.candidates import Candidate, Utterance, interpretations
from modelyard.domain.lex.code_hooks import (
    HookAnswer,
    HookCall,
    HookFailed,
    HookOutcome,
    Source,
    event,
)
from modelyard.domain.lex.conditions import BadCondition
from modelyard.domain.lex.paths import Path, branch, hooked_each_turn, is_called, path
from modelyard.domain.lex.progress import DONE, Progress, Situation
from modelyard.domain.lex.session import Action, Json, Session, Slots, aged
from modelyard.domain.lex.states import State, applied

Flow = Generator[HookCall, HookOutcome, None]
Next = Callable[[], Flow]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a turn."""

    session: Session
    messages: list[Json]
    interpretations: list[Json]
    request_attributes: dict[str, str]


Talk = Generator[HookCall, HookOutcome, Turn]


def converse(bot: Bot, session: Session, situation: Situation, said: Utterance) -> Talk:
    """A user said something. Raises ``ServiceError`` for a bot that cannot go on."""
    progress = Progress(bot, session, situation)
    older = [one.name for one in progress.contexts]
    yield from _Dialogue(progress, said.candidates).hear(said)
    progress.contexts = aged(progress.contexts, older)
    return _turn(progress, said.candidates)


def put(
    bot: Bot, session: Session, situation: Situation, state: State, messages: list[Json]
) -> Talk:
    """Somebody sets the state. Its action is done: a question is asked, or what is delegated goes its course."""
    progress = Progress(bot, applied(session, state), situation)
    progress.misses = 0
    yield from _Dialogue(progress, ()).begin_with(state.action or Action(), messages)
    return _turn(progress, ())


def _turn(progress: Progress, candidates: tuple[Candidate, ...]) -> Turn:
    return Turn(
        session=progress.session(),
        messages=progress.messages[-texts.MESSAGES_MAX :],
        interpretations=interpretations(progress.intent, candidates),
        request_attributes=progress.request_attributes,
    )


class _Dialogue:
    def __init__(self, progress: Progress, candidates: tuple[Candidate, ...]) -> None:
        self._progress = progress
        self._bot = progress.bot
        self._candidates = candidates

    # What was said, against what was asked.

    def hear(self, said: Utterance) -> Flow:
        progress = self._progress
        intent, action = progress.intent, progress.action
        slot = self._bot.slots(intent.name).get(action.slot) if intent else None
        if action.type == "ElicitSlot" and slot is not None:
            yield from self._hear_slot(said, slot)
        elif action.type == "ConfirmIntent" and intent is not None:
            yield from self._hear_confirmation(said)
        else:
            yield from self._begin(said.best)

    def begin_with(self, action: Action, messages: list[Json]) -> Flow:
        progress = self._progress
        progress.messages = list(messages)
        is_said = bool(messages)
        if action.type == "Delegate":
            yield from self._delegate()
        elif action.type == "ElicitSlot":
            progress.ask_slot(action.slot, is_said=is_said, style=action.style)
        elif action.type == "ConfirmIntent":
            progress.ask_confirmation(is_said=is_said)
        elif action.type == "ElicitIntent":
            progress.elicit_intent()
        elif action.type == "Close":
            progress.end()

    def _begin(self, candidate: Candidate | None) -> Flow:
        progress = self._progress
        if candidate is None:
            progress.elicit_intent()
            return
        slots = {**self._bot.empty_slots(candidate.intent), **candidate.slots}
        intent = progress.intent
        is_same = intent is not None and intent.name == candidate.intent
        if intent and is_same and progress.action.type in ("None", "Delegate"):
            slots = {name: slot or intent.slots.get(name) for name, slot in slots.items()}
        yield from self._start(candidate.intent, slots)

    def _hear_slot(self, said: Utterance, slot: Json) -> Flow:
        other = self._other(said)
        value = filled(slot, said.elicited)
        if value is not None and not (other and self._bot.says_exactly(other.intent, said.text)):
            yield from self._captured(slot, {slot["slotName"]: value})
        elif other:
            yield from self._begin(other)
        elif added := self._added(said, only_empty=True):
            yield from self._captured(slot, added)
        else:
            setting = elicitation(slot)
            capture = setting.get("slotCaptureSetting") or {}
            prompt = setting.get("promptSpecification")
            yield from self._missed(prompt, capture, lambda: self._again(slot["slotName"]))

    def _hear_confirmation(self, said: Utterance) -> Flow:
        progress = self._progress
        setting = progress.setting("intentConfirmationSetting")
        hook = setting.get("codeHook")
        if said.yes_no == "Yes":
            progress.change(confirmation="Confirmed")
            yield from self._follow(
                path(setting, "confirmation"), hook, lambda: self._turn_hook(hook, self._delegate)
            )
        elif said.yes_no == "No":
            progress.change(confirmation="Denied")
            if hook is None:
                yield from self._turn_hook(None, self._delegate)
            else:
                yield from self._decline()
        elif other := self._other(said):
            yield from self._begin(other)
        elif added := self._added(said, only_empty=False):
            progress.fill(added)
            progress.misses = 0
            yield from self._turn_hook(None, self._delegate)
        else:
            prompt = setting.get("promptSpecification")
            yield from self._missed(prompt, setting, self._delegate)

    def _other(self, said: Utterance) -> Candidate | None:
        """Another intent than the one that is asked about, if the user meant that."""
        best = said.best
        if best is None or best.intent in (self._progress.known.name, self._bot.fallback):
            return None
        return best

    def _added(self, said: Utterance, *, only_empty: bool) -> Slots:
        """Values for slots that were not asked for, in an utterance of the same intent."""
        best = said.best
        if best is None or best.intent != self._progress.known.name:
            return {}
        own = self._progress.known.slots
        return {
            name: slot
            for name, slot in best.slots.items()
            if slot and not (only_empty and own.get(name)) and slot != own.get(name)
        }

    def _captured(self, slot: Json, values: Slots) -> Flow:
        self._progress.fill(values)
        self._progress.misses = 0
        if slot["slotName"] not in values:
            yield from self._turn_hook(None, self._delegate)
            return
        setting = elicitation(slot).get("slotCaptureSetting") or {}
        hook = setting.get("codeHook")
        yield from self._follow(
            path(setting, "capture"), hook, lambda: self._turn_hook(hook, self._delegate)
        )

    def _missed(self, prompt: Json | None, setting: Json, again: Next) -> Flow:
        self._progress.misses += 1
        if self._progress.misses > int((prompt or {}).get("maxRetries", 0)):
            self._progress.misses = 0  # Whoever asks the same once more begins anew.
            yield from self._follow(path(setting, "failure"), setting.get("codeHook"), self._fail)
        else:
            yield from self._turn_hook(setting.get("elicitationCodeHook"), again)

    def _again(self, slot: str) -> Flow:
        """Ask once more; a hook may have filled it, which is another matter."""
        if self._progress.known.slots.get(slot):
            yield from self._delegate()
        else:
            self._progress.ask_slot(slot)

    # The course of an intent.

    def _start(self, name: str, slots: Slots) -> Flow:
        self._progress.begin(name, slots)
        setting = self._progress.setting("initialResponseSetting")
        hook = setting.get("codeHook")
        yield from self._follow(
            path(setting, "initial"), hook, lambda: self._turn_hook(hook, self._delegate)
        )

    def _delegate(self) -> Flow:
        progress = self._progress
        progress.count()
        if progress.intent is None:
            progress.elicit_intent()
        elif progress.intent.state == "Failed":
            progress.end()
        elif progress.intent.confirmation == "Denied":
            yield from self._decline()
        else:
            action = progress.proposed()
            if action.type == "ElicitSlot":
                progress.ask_slot(action.slot)
            elif action.type == "ConfirmIntent":
                progress.ask_confirmation()
            else:
                yield from self._fulfil()

    def _decline(self) -> Flow:
        self._progress.change(state="Failed")
        setting = self._progress.setting("intentConfirmationSetting")
        way = path(setting, "declination")
        if setting.get("active", True) is False:
            way = way.without_response()
        yield from self._follow(way, setting.get("codeHook"), self._ended)

    def _fulfil(self) -> Flow:
        progress = self._progress
        setting = progress.setting("fulfillmentCodeHook")
        post = setting.get("postFulfillmentStatusSpecification") or {}
        progress.change(state="ReadyForFulfillment")
        if setting.get("enabled") and setting.get("active", True) is not False:
            yield from self._fulfil_by_hook(post)
        elif post or setting.get("active"):
            progress.change(state="Fulfilled")
            yield from self._follow(path(post, "success"), None, self._closing)
        else:
            yield from self._closing()

    def _fulfil_by_hook(self, post: Json) -> Flow:
        progress = self._progress
        outcome = yield from self._call("FulfillmentCodeHook", {})
        if isinstance(outcome, HookFailed):
            yield from self._without_answer(outcome, post)
            return
        kind = outcome.kind
        if kind not in ("Delegate", "Close"):
            yield from self._directed(outcome)
        elif progress.known.state == "Failed":
            yield from self._failed_by_hook(outcome, post)
        elif kind == "Delegate" and progress.proposed().type == "ElicitSlot":
            progress.messages += outcome.messages
            yield from self._delegate()
        else:
            if kind == "Delegate":
                progress.change(state="Fulfilled")
            yield from self._with_words_of(outcome, path(post, "success"), self._closing)

    def _with_words_of(self, answer: HookAnswer, way: Path, default: Next) -> Flow:
        """What a function says stands for the bot's own response."""
        self._progress.messages += answer.messages
        if answer.messages:
            yield from self._follow(way.without_response(), None, self._ended)
        else:
            yield from self._follow(way, None, default)

    def _closing(self) -> Flow:
        setting = self._progress.setting("intentClosingSetting")
        if setting.get("active", True) is False:
            self._progress.end()
        else:
            yield from self._follow(path(setting, "closing"), None, self._ended)

    def _fail(self) -> Flow:
        """The user was not understood as often as may be: the fallback takes over."""
        fallback = self._bot.fallback
        self._progress.change(state="Failed")
        if fallback is None or self._progress.known.name == fallback:
            self._progress.end()
        else:
            yield from self._start(fallback, self._bot.empty_slots(fallback))

    def _ended(self) -> Flow:
        self._progress.end()
        yield from ()

    # Paths of the bot's own.

    def _follow(self, way: Path, hook: Json | None, default: Next) -> Flow:
        progress = self._progress
        progress.count()
        progress.say(way.response)
        step = way.step
        if way.branches:
            try:
                taken = branch(way.conditional, progress.lookup)
            except BadCondition as error:
                raise ValidationError(f"A condition of the bot: {error}") from error
            progress.say(taken.get("response"))
            step = taken.get("nextStep")
        progress.set(step or {})
        action = (step or {}).get("dialogAction")
        if action:
            yield from self._go(action, hook)
        else:
            yield from default()

    def _go(self, action: Json, hook: Json | None) -> Flow:
        progress, kind = self._progress, action["type"]
        progress.suppress(bool(action.get("suppressNextMessage")))
        if kind == "ElicitIntent" or progress.intent is None:
            progress.elicit_intent()
        elif kind == "ElicitSlot":
            progress.ask_slot(action.get("slotToElicit", ""))
        elif kind == "ConfirmIntent":
            progress.ask_confirmation()
        elif kind == "EndConversation":
            progress.end()
        elif kind == "StartIntent":
            yield from self._start(progress.known.name, progress.known.slots)
        elif kind == "FulfillIntent":
            yield from self._fulfil()
        elif kind == "CloseIntent":
            yield from self._closing()
        else:
            yield from self._turn_hook(
                hook if kind == "InvokeDialogCodeHook" else {}, self._delegate
            )

    # Code hooks.

    def _turn_hook(self, setting: Json | None, then: Next) -> Flow:
        """None: the point has no hook of its own."""
        progress = self._progress
        intent = self._bot.intent(progress.known.name)
        if not is_called(setting) and not (setting is None and hooked_each_turn(intent)):
            yield from then()
            return
        post = (setting or {}).get("postCodeHookSpecification") or {}
        outcome = yield from self._call("DialogCodeHook", setting or {})
        if isinstance(outcome, HookFailed):
            yield from self._without_answer(outcome, post)
        elif progress.known.state == "Failed":
            yield from self._failed_by_hook(outcome, post)
        elif outcome.kind == "Delegate":
            progress.messages += outcome.messages
            yield from self._follow(path(post, "success"), None, then)
        else:
            yield from self._directed(outcome)

    def _call(self, source: Source, setting: Json) -> Generator[HookCall, HookOutcome, HookOutcome]:
        progress = self._progress
        progress.count()
        situation, intent = progress.situation, progress.known
        details: Json = {
            "requestAttributes": progress.request_attributes,
            "invocationLabel": setting.get("invocationLabel"),
        }
        if source == "DialogCodeHook":
            details["proposedNextState"] = {
                "dialogAction": progress.proposed().shown(),
                "intent": intent.shown(),
                "prompt": {"attempt": f"Retry{progress.misses}" if progress.misses else "Initial"},
            }
        request_id = situation.place.request_id
        outcome = yield HookCall(
            event=event(
                bot=self._bot,
                place=situation.place,
                source=source,
                state=progress.session().shown(now=situation.now, request_id=request_id),
                interpretations=interpretations(intent, self._candidates),
                details=details,
            )
        )
        if isinstance(outcome, HookAnswer):
            progress.apply(outcome)
        return outcome

    def _without_answer(self, outcome: HookFailed, post: Json) -> Flow:
        """A bot may have a way on from a function that fails or takes too long; else its caller gets the error."""
        way = path(post, "timeout" if outcome.is_timeout else "failure")
        if not way.is_set:
            raise outcome.error
        self._progress.change(state="Failed")
        yield from self._follow(way, None, self._ended)

    def _failed_by_hook(self, answer: HookAnswer, post: Json) -> Flow:
        yield from self._with_words_of(answer, path(post, "failure"), self._ended)

    def _directed(self, answer: HookAnswer) -> Flow:
        """The hook says itself what comes next."""
        progress, action = self._progress, answer.action
        progress.messages += answer.messages
        is_said = bool(answer.messages)
        if action.type == "ElicitSlot":
            progress.ask_slot(action.slot, is_said=is_said, style=action.style)
        elif action.type == "ConfirmIntent":
            progress.ask_confirmation(is_said=is_said)
        elif action.type == "ElicitIntent":
            progress.elicit_intent()
        elif is_said or progress.known.state not in DONE:
            progress.end()
        else:
            yield from self._closing()
