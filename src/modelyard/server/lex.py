"""What Lex V2 is built of."""

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.services.lex.aliases import Aliases
from modelyard.services.lex.bots import Bots
from modelyard.services.lex.builtins import BuiltIns
from modelyard.services.lex.intents import Intents
from modelyard.services.lex.locales import Locales
from modelyard.services.lex.slot_types import SlotTypes
from modelyard.services.lex.slots import Slots
from modelyard.services.lex.tags import BotTags
from modelyard.services.lex.versions import Versions
from modelyard.services.sagemaker.resources import Roles
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
