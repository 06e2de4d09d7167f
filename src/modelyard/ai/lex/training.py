"""Learning what a bot understands from its definition."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from modelyard.ai.lex import intents, tagger
from modelyard.ai.lex.bot import Bot, read
from modelyard.ai.lex.examples import Maker, background
from modelyard.ai.lex.model import BotModel
from modelyard.domain.lex.templates import faults, learned

_DAY = date(2026, 1, 1)
"""Any day does: what is learned is where a date is, not which."""


class Unlearnable(Exception):
    """``reasons`` are for whoever defined the bot."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(" ".join(reasons))
        self.reasons = reasons


def train(
    definition: Mapping[str, Any], *, told: Callable[[str], None] = lambda _: None
) -> BotModel:
    """The same definition gives the same model. Raises ``Unlearnable``, ``LibraryMissing``.

    An intent without utterances is no class of the model: it is never recognised, only led to.
    """
    reasons = faults(definition)
    if reasons:
        raise Unlearnable(reasons)
    bot = Bot(learned(definition))
    maker = Maker(bot)
    examples = {one.name: maker.examples(one) for one in bot.intents if one.templates}
    told(f"{len(examples)} intents, {sum(map(len, examples.values()))} examples")
    readings = {
        name: [read(bot, one.text, _DAY) for one in some] for name, some in examples.items()
    }
    classifier = intents.train(
        readings,
        [read(bot, sentence, _DAY) for sentence in background()],
        {name: [one.template for one in some] for name, some in examples.items()},
    )
    told(f"{len(classifier.rare)} features of texts")
    slots = tagger.train(bot, examples, readings)
    told(f"{len(slots.features)} features of words")
    return BotModel(bot=bot, classifier=classifier, tagger=slots)
