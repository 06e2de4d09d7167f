"""What was learned of a bot, as one ``.npz`` without pickles."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from modelyard.ai.engine import EngineError
from modelyard.ai.lex.bot import Bot
from modelyard.ai.lex.intents import IntentClassifier
from modelyard.ai.lex.tagger import SlotTagger

FILE = "bot.npz"
FORMAT = 1
_ARRAYS = ("weights", "bias")
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BotModel:
    """All that a worker needs."""

    bot: Bot
    classifier: IntentClassifier
    tagger: SlotTagger

    def save(self, path: Path) -> None:
        """Write one file; the same model gives the same bytes."""
        one = self.classifier
        about = {
            "format": FORMAT,
            "learned": self.bot.learned,
            "names": one.names,
            "rare": list(one.rare),
            "known": {name: sorted(words) for name, words in one.known.items()},
            "slots": self.tagger.slots,
            "usual": self.tagger.usual,
            "features": list(self.tagger.features),
        }
        arrays: dict[str, Array] = {name: getattr(one, name) for name in _ARRAYS}
        arrays["rarity"] = np.array(list(one.rare.values()))
        arrays["labels"], arrays["moves"] = self.tagger.weights, self.tagger.moves
        text = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogatepass")
        packed = io.BytesIO()
        np.savez_compressed(packed, about=np.frombuffer(text, dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        path.write_bytes(packed.getvalue())

    @classmethod
    def read(cls, path: Path) -> "BotModel":
        """Raises ``EngineError`` for a file that is none."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
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
                    tagger=SlotTagger(
                        slots=tuple((name, kind) for name, kind in about["slots"]),
                        usual=about["usual"],
                        features={feature: at for at, feature in enumerate(about["features"])},
                        weights=stored["labels"],
                        moves=stored["moves"],
                    ),
                )
        except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{path.name} is no model of a bot: {error}") from error
