"""An AI engine as something that a worker serves: questions of several callers that are alike go through it together."""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.ai.engine import Engine, EngineError, load_engine
from modelyard.ai.questions import (
    CONTENT_TYPE,
    Question,
    QuestionError,
    decode_question,
    encode_findings,
)
from modelyard.frameworks.model import LoadError
from modelyard.frameworks.service import Ask, Refusal, Reply

ENGINE = "MODELYARD_ENGINE"
OPTION = "MODELYARD_ENGINE_"
"""Variables of the container that begin so are the engine's options."""
MAX_BATCH = 64
RUNTIME = "ai"


class EngineService:
    """``frameworks.service.Service`` of an engine."""

    max_batch = MAX_BATCH
    seconds = 0.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def answer(self, ask: Ask) -> Reply:
        """Raises ``Refusal`` for a body that is no question."""
        (reply,) = self.answer_together([ask])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def answer_together(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        """Questions of one task with the same options are one batch."""
        replies: list[Reply | Exception | None] = [None] * len(asks)
        groups: dict[bytes, list[tuple[int, Question]]] = {}
        for place, ask in enumerate(asks):
            try:
                question = decode_question(ask.body)
            except QuestionError as error:
                replies[place] = Refusal(str(error))
                continue
            like = repr((question.task, sorted(question.options.items()))).encode()
            groups.setdefault(like, []).append((place, question))
        for group in groups.values():
            for place, reply in self._answer_group(group):
                replies[place] = reply
        return [reply for reply in replies if reply is not None]

    def _answer_group(
        self, group: Sequence[tuple[int, Question]]
    ) -> Sequence[tuple[int, Reply | Exception]]:
        first = group[0][1]
        items = [item for _, question in group for item in question.items]
        try:
            findings = self._engine.answer(first.task, items, first.options)
        except Exception as error:  # noqa: BLE001 - a model's own code may raise anything
            if len(group) > 1:  # One caller's text is one caller's error.
                return [pair for one in group for pair in self._answer_group([one])]
            traceback.print_exception(error)
            return [(group[0][0], error)]
        answers: list[tuple[int, Reply | Exception]] = []
        begin = 0
        for place, question in group:
            own = findings[begin : begin + len(question.items)]
            begin += len(question.items)
            answers.append((place, Reply(body=encode_findings(own), content_type=CONTENT_TYPE)))
        return answers


def load_service(folder: Path | None, environment: Mapping[str, str]) -> EngineService:
    """The engine that a container's variables name. Raises ``LoadError``."""
    options = {
        name.removeprefix(OPTION).lower(): value
        for name, value in environment.items()
        if name.startswith(OPTION)
    }
    try:
        return EngineService(load_engine(environment.get(ENGINE, ""), folder, options))
    except EngineError as error:
        raise LoadError(str(error)) from error
