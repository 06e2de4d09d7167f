"""What Lex V2 is built of."""

from pathlib import Path

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Settings
from modelyard.server.functions import LocalFunctions
from modelyard.services.lex.aliases import Aliases
from modelyard.services.lex.bots import Bots
from modelyard.services.lex.builtins import BuiltIns
from modelyard.services.lex.hooks import CodeHooks
from modelyard.services.lex.intents import Intents
from modelyard.services.lex.locales import Locales
from modelyard.services.lex.runtime import Conversations
from modelyard.services.lex.slot_types import SlotTypes
from modelyard.services.lex.slots import Slots
from modelyard.services.lex.tags import BotTags
from modelyard.services.lex.turns import Models, Turns
from modelyard.services.lex.versions import Versions
from modelyard.services.metering import Metering
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.lex_sessions import LexSessions
from modelyard.store.resources import ResourceStore


def models_api(
    *, store: ResourceStore, clock: Clock, random: RandomSource, roles: Roles
) -> tuple[object, ...]:
    """The façades with which bots are built, down to what the store is told to want."""
    return (
        Bots(store=store, random=random, roles=roles),
        Locales(store=store, clock=clock),
        Intents(store=store, random=random),
        Slots(store=store, random=random),
        SlotTypes(store=store, random=random),
        Versions(store=store),
        Aliases(store=store, clock=clock, random=random),
        BuiltIns(),
        BotTags(store=store),
    )


class LexRuntime:
    """Conversations: their façade, and what it needs that has to be closed."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        settings: Settings,
        models: Models,
        metering: Metering,
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._functions = LocalFunctions(
            settings.lambdas, folder=settings.lambda_folder or Path(settings.home)
        )
        self._sessions = LexSessions(
            Home(settings.home).lex_database, limit=settings.limits.lex_sessions
        )
        turns = Turns(
            store=store,
            sessions=self._sessions,
            models=models,
            hooks=CodeHooks(functions=self._functions, clock=clock),
            clock=clock,
            random=random,
        )
        self.facade = Conversations(turns=turns, metering=metering, clock=clock)

    def clear(self) -> None:
        """Forget every conversation."""
        self._sessions.clear()

    async def stop(self) -> None:
        """End the functions that are kept warm."""
        await self._functions.close()

    def close(self) -> None:
        """After the last call."""
        self._sessions.close()
