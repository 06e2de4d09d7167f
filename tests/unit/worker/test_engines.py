"""Questions to an engine: those that are alike are answered together, and each caller gets its own findings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from modelyard.ai.questions import (
    CONTENT_TYPE,
    Finding,
    Item,
    Question,
    decode_findings,
    encode_question,
)
from modelyard.frameworks.model import LoadError
from modelyard.frameworks.service import Ask, Refusal, Reply
from modelyard.worker.engines import EngineService, load_service


class Capitals:
    """Answers in capitals; remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        texts = [item["text"] for item in items]
        self.batches.append(texts)
        if "poison" in texts:
            raise ValueError("poison")
        return [Finding(result={"text": text.upper(), "task": task}) for text in texts]


def ask(*texts: str, task: str = "t", **options: Any) -> Ask:
    question = Question(task=task, items=[{"text": text} for text in texts], options=options)
    return Ask(body=encode_question(question), content_type=CONTENT_TYPE)


def said(reply: Reply | Exception) -> list[str]:
    assert isinstance(reply, Reply)
    return [finding.result["text"] for finding in decode_findings(reply.body)]


def test_questions_that_are_alike_are_one_batch() -> None:
    engine = Capitals()
    replies = EngineService(engine).answer_together(
        [ask("a", "b"), ask("c", task="u"), ask("d"), ask(), ask("e", mode=1)]
    )
    assert [said(reply) for reply in replies] == [["A", "B"], ["C"], ["D"], [], ["E"]]
    assert engine.batches == [["a", "b", "d"], ["c"], ["e"]]


def test_one_callers_text_is_one_callers_error(capsys: pytest.CaptureFixture[str]) -> None:
    replies = EngineService(Capitals()).answer_together([ask("a"), ask("poison"), ask("b")])
    assert said(replies[0]) == ["A"]
    assert isinstance(replies[1], ValueError)
    assert said(replies[2]) == ["B"]
    assert "poison" in capsys.readouterr().err


def test_what_is_no_question_is_refused() -> None:
    service = EngineService(Capitals())
    with pytest.raises(Refusal, match="no question"):
        service.answer(Ask(body=b"{}"))
    with pytest.raises(Refusal, match="at most 1000 items"):
        service.answer(ask(*["x"] * 1001))


def test_an_engine_that_is_not_there_is_named() -> None:
    with pytest.raises(LoadError, match=r"There is no engine 'nothing': there are .*language"):
        load_service(None, {"MODELYARD_ENGINE": "nothing"})
    with pytest.raises(LoadError, match="needs the files of a pack"):
        load_service(None, {"MODELYARD_ENGINE": "sentiment"})
