"""Turns of conversations: find the session, understand, lead on, call the bot's function, keep what came of it.

A session has one turn at a time. What is kept is written before the answer leaves, with the answer itself: a client that
repeats a request, because its answer was lost, gets that answer and not a second turn.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.lex.bot import Bot
from modelyard.domain.lex.candidates import questions, read_utterance
from modelyard.domain.lex.code_hooks import HookOutcome, Place
from modelyard.domain.lex.dialogue import Talk, Turn, converse, put
from modelyard.domain.lex.progress import Situation
from modelyard.domain.lex.session import Session, alive
from modelyard.domain.lex.states import BadState, applied, check_attributes, read_state
from modelyard.domain.lex.understanding import Heard, Understanding
from modelyard.services.lex.hooks import CodeHooks
from modelyard.services.lex.resolving import Resolved, Resolver
from modelyard.store.lex_sessions import LexSessions, SessionKey, TooManySessions
from modelyard.store.resources import Json, ResourceStore

SESSION_BYTES = 45_056
"""Of one session, as it is kept: small enough for the header in which some answers carry it."""
TIME_ZONE = "x-amz-lex:time-zone"
"""The attribute that says what day it is for the user; without it UTC's."""


class Models(Protocol):
    """``built_models.BuiltModels``, as far as it matters here."""

    async def understand(
        self, call: Call, model: str, heard: Sequence[Heard]
    ) -> list[Understanding]: ...


Meter = Callable[[], None]
"""Counts the request of a turn. Kept on return, whoever is killed then; counting the same request again counts nothing."""


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session with the answer to its last turn."""

    session: Session
    request_id: str
    invocation_id: str = ""
    messages: list[Json] = []
    interpretations: list[Json] = []
    request_attributes: dict[str, str] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brings: ``text``, or ``messages`` for a state that is put."""

    state: Mapping[str, Any] | None = None
    request_attributes: dict[str, str] = {}
    text: str = ""
    messages: list[Json] = []


@dataclass(frozen=True, slots=True)
class _Scene:
    """Of one turn: who asks, which session, and the bot as it answers now."""

    call: Call
    key: SessionKey
    resolved: Resolved

    @property
    def bot(self) -> Bot:
        return self.resolved.bot


class Turns:
    """Those of every bot."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        sessions: LexSessions,
        models: Models,
        hooks: CodeHooks,
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._resolver = Resolver(store)
        self._sessions = sessions
        self._models = models
        self._hooks = hooks
        self._clock = clock
        self._random = random
        self._busy: set[SessionKey] = set()

    async def hear(self, call: Call, key: SessionKey, said: Said, *, meter: Meter) -> Kept:
        """A user says something, which is metered. Raises ``ServiceError``."""
        return await self._take(call, key, said, meter)

    async def put(self, call: Call, key: SessionKey, said: Said) -> Kept:
        """Somebody sets the state. Raises ``ServiceError``."""
        return await self._take(call, key, said, None)

    async def find(self, key: SessionKey) -> Kept:
        """Raises ``ServiceError`` where there is none."""
        self._resolve(key)
        found = self._load(key)
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException", f"There is no session {key.id}.", status=404
            )
        return found

    async def delete(self, key: SessionKey) -> None:
        """Nothing happens where there is none. Raises ``ServiceError``."""
        self._resolve(key)
        with self._alone(key):
            self._sessions.delete(key)

    async def _take(self, call: Call, key: SessionKey, said: Said, meter: Meter | None) -> Kept:
        resolved = self._resolve(key)
        scene = _Scene(call, key, resolved)
        with self._alone(key):
            before = self._load(key)
            if before is not None and call.invocation_id == before.invocation_id != "":
                if meter is not None:
                    meter()
                return before
            session = before.session if before is not None else Session()
            begin = self._talk if meter is not None else self._put
            try:
                check_attributes("requestAttributes", said.request_attributes)
                talk = await begin(scene, session, said)
            except BadState as error:
                raise ValidationError(str(error)) from None
            turn = await self._finish(scene, talk)
            kept = Kept(
                session=turn.session,
                request_id=call.request_id,
                invocation_id=call.invocation_id,
                messages=turn.messages,
                interpretations=turn.interpretations,
                request_attributes=turn.request_attributes,
            )
            self._keep(key, kept, scene.bot.idle_seconds, begins=before is None)
            if meter is not None:
                meter()
        return kept

    async def _talk(self, scene: _Scene, session: Session, said: Said) -> Talk:
        bot, now = scene.bot, self._clock.now()
        if said.state:
            session = applied(session, read_state(bot, said.state, now=now))
        today = _today(now, {**session.attributes, **said.request_attributes})
        asked = questions(bot, session, said.text, today)
        understood = await self._models.understand(scene.call, scene.resolved.model, asked)
        contexts = [one.name for one in alive(session.contexts, now)]
        utterance = read_utterance(bot, contexts, said.text, understood)
        return converse(bot, session, self._situation(scene, said), utterance)

    async def _put(self, scene: _Scene, session: Session, said: Said) -> Talk:
        state = read_state(scene.bot, said.state or {}, now=self._clock.now())
        return put(scene.bot, session, self._situation(scene, said), state, said.messages)

    def _situation(self, scene: _Scene, said: Said) -> Situation:
        place = Place(
            session_id=scene.key.id,
            alias_id=scene.key.alias,
            alias_name=scene.resolved.alias_name,
            transcript=said.text,
            request_id=scene.call.request_id,
        )
        return Situation(
            now=self._clock.now(),
            chance=self._random.uniform(),
            place=place,
            request_attributes=said.request_attributes,
        )

    async def _finish(self, scene: _Scene, talk: Talk) -> Turn:
        """Let a turn run, and do the calls that it asks for."""
        outcome: HookOutcome | None = None
        while True:
            try:
                wanted = next(talk) if outcome is None else talk.send(outcome)
            except StopIteration as done:
                turn: Turn = done.value
                return turn
            settings = scene.resolved.settings
            outcome = await self._hooks.call(scene.call, scene.bot, settings, wanted)

    def _resolve(self, key: SessionKey) -> Resolved:
        return self._resolver.resolve(key.account, key.region, key.bot, key.alias, key.locale)

    @contextmanager
    def _alone(self, key: SessionKey) -> Iterator[None]:
        """One turn of a session at a time. Raises ``ServiceError`` for the second one."""
        if key in self._busy:
            raise ServiceError(
                "ConflictException",
                f"The session {key.id} is busy with another request; send this one when that is answered.",
                status=409,
            )
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def _load(self, key: SessionKey) -> Kept | None:
        """On the loop, as resources are read: a row by its key, which a thread would take longer to be asked for."""
        data = self._sessions.get(key, now=self._clock.now())
        return None if data is None else _decode(data)

    def _keep(self, key: SessionKey, kept: Kept, idle_seconds: float, *, begins: bool) -> None:
        """On the loop, as ``_load``."""
        data = _encode(kept)
        if len(data) > SESSION_BYTES and len(_encode(kept.session)) > SESSION_BYTES:
            raise ValidationError(f"The session would be larger than {SESSION_BYTES} bytes.")
        now = self._clock.now()
        try:
            self._sessions.put(key, data, expires_at=now + idle_seconds, now=now, begins=begins)
        except TooManySessions as error:
            raise ServiceError(
                "ThrottlingException", f"{error} (lex_sessions).", status=429
            ) from None
        except OSError as error:
            raise ServiceError(
                "InternalServerException", f"The session cannot be kept: {error}", status=500
            ) from error


def _today(now: float, attributes: Mapping[str, str]) -> str:
    """The user's date. Raises ``ValidationError`` for a time zone that is none."""
    name = attributes.get(TIME_ZONE)
    try:
        zone: datetime.tzinfo = ZoneInfo(name) if name else datetime.UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(f"{TIME_ZONE} has to be a time zone, not {name}.") from None
    return datetime.datetime.fromtimestamp(now, zone).date().isoformat()
