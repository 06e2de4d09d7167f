"""What was learned of a bot, as one ``.npz`` without pickles."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.engine import EngineError
from modelyard.ai.lex.bot import Bot
from modelyard.ai.lex.intents import IntentClassifier
from modelyard.ai.lex.tagger import SlotTagger
from modelyard.domain.lex.pattern import BadPattern

FILE = "bot.npz"
FORMAT = 1
_ARRAYS = ("weights", "bias", "columns", "values", "starts", "owners")
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BotModel:
    """``taggers`` by intent."""

    bot: Bot
    classifier: IntentClassifier
    taggers: Mapping[str, SlotTagger]

    def save(self, path: Path) -> None:
        """Write one file; the same model gives the same bytes."""
        one = self.classifier
        about = {
            "format": FORMAT,
            "learned": self.bot.learned,
            "names": one.names,
            "rare": list(one.rare),
            "known": {name: sorted(words) for name, words in one.known.items()},
            "taggers": {
                name: {"slots": tagger.slots, "kinds": tagger.kinds, "features": list(tagger.features)}
                for name, tagger in self.taggers.items()
            },
        }  # fmt: skip
        arrays: dict[str, Array] = {name: getattr(one, name) for name in _ARRAYS}
        arrays["rarity"] = np.array(list(one.rare.values()), dtype=np.float32)
        for place, tagger in enumerate(self.taggers.values()):
            arrays[f"weights{place}"], arrays[f"moves{place}"] = tagger.weights, tagger.moves
        text = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogatepass")
        packed = io.BytesIO()
        np.savez_compressed(packed, about=np.frombuffer(text, dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        path.write_bytes(packed.getvalue())

    @classmethod
    def read(cls, path: Path) -> "BotModel":
        """Raises ``EngineError`` for a file that is none."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                about = json.loads(bytes(stored["about"]).decode("utf-8", "surrogatepass"))
                if about["format"] != FORMAT:
                    raise EngineError(f"{path.name} has format {about['format']}, not {FORMAT}.")
                return cls(
                    bot=Bot(about["learned"]),
                    classifier=IntentClassifier(
                        names=tuple(about["names"]),
                        rare=dict(zip(about["rare"], stored["rarity"].tolist(), strict=True)),
                        known={name: frozenset(words) for name, words in about["known"].items()},
                        **{name: stored[name] for name in _ARRAYS},
                    ),
                    taggers={
                        name: SlotTagger(
                            slots=tuple(one["slots"]),
                            kinds=tuple(one["kinds"]),
                            features={feature: at for at, feature in enumerate(one["features"])},
                            weights=stored[f"weights{place}"],
                            moves=stored[f"moves{place}"],
                        )
                        for place, (name, one) in enumerate(about["taggers"].items())
                    },
                )
        except (OSError, ValueError, KeyError, TypeError, BadPattern) as error:
            raise EngineError(f"{path.name} is no model of a bot: {error}") from error
