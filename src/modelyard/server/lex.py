"""What Lex V2 is built of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Settings
from modelyard.server.functions import LocalFunctions
from modelyard.server.presigning import presigner
from modelyard.services.lex.aliases import Aliases
from modelyard.services.lex.bots import Bots
from modelyard.services.lex.builtins import BuiltIns
from modelyard.services.lex.exports import Exports
from modelyard.services.lex.hooks import CodeHooks
from modelyard.services.lex.importing import Importing
from modelyard.services.lex.imports import Imports
from modelyard.services.lex.intents import Intents
from modelyard.services.lex.locales import Locales
from modelyard.services.lex.runtime import Conversations
from modelyard.services.lex.slot_types import SlotTypes
from modelyard.services.lex.slots import Slots
from modelyard.services.lex.tags import BotTags
from modelyard.services.lex.turns import Models, Turns
from modelyard.services.lex.versions import Versions
from modelyard.services.metering import Metering
from modelyard.services.own_bucket import OWNER, OwnBucket, Shelf
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.lex_sessions import LexSessions
from modelyard.store.resources import Json, ResourceStore
from modelyard.wire import json_body
from modelyard.wire.models import load_service
from modelyard.wire.validate import validate

BUCKET = "modelyard-lex"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """Where archives of bots lie, and the settings by which addresses of them are made."""

    shelf: Shelf
    settings: Settings


def models_api(
    *, store: ResourceStore, clock: Clock, random: RandomSource, roles: Roles, archives: Archives
) -> tuple[object, ...]:
    """The façades with which bots are built, down to what the store is told to want."""
    bucket = OwnBucket(archives.shelf, BUCKET)
    download, upload = (
        presigner(archives.settings, account=OWNER, clock=clock, random=random, method=method)
        for method in ("GET", "PUT")
    )
    importing = Importing(store=store, random=random, roles=roles, validate=validated)
    return (
        Exports(store=store, random=random, bucket=bucket, locate=download),
        Imports(store=store, random=random, bucket=bucket, locate=upload, importing=importing),
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


def validated(operation: str, given: Mapping[str, Any]) -> Json:
    """Values from outside as an operation of the models API takes them. Raises ``ServiceError``."""
    shape = load_service("lexv2-models").operation_model(operation).input_shape
    if shape is None:
        raise ServiceError("ValidationException", f"{operation} takes nothing.")
    values: Json = json_body.decode(shape, dict(given))
    validate(shape, values, code="ValidationException")
    return values
