"""A worker answers the same frames, and in the same order, with C and without."""

import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard import native
from modelyard.domain.chain import ARRAYS
from modelyard.frameworks import answers
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import Array, BadInput
from modelyard.testing.clock import ManualClock
from modelyard.transport import frames
from modelyard.worker import batcher, server
from modelyard.worker.batcher import Bounds
from modelyard.worker.predictor import Answer, Predictor, Request
from modelyard.worker.server import WorkerServer

pytestmark = pytest.mark.skipif(native.part("alike") is None, reason="no C was built")
JSON_IN = frames.RequestMeta("application/json")
METAS = [
    JSON_IN,
    frames.RequestMeta("application/json", "text/csv"),
    frames.RequestMeta("text/csv", "application/json"),
    frames.RequestMeta("text/csv"),
    frames.RequestMeta("application/json", trace="a"),
    frames.RequestMeta("image/png"),
]
BODIES = [
    b"[[1.5,2]]",
    b'{"instances":[[3,4.25],[5,6]]}',
    b"[1.0]",
    b"7,8",
    b"[[1,2",
    b"",
    b"[[666.0,1]]",
    b"[[999.0,1]]",
]
REQUEST = st.tuples(
    st.sampled_from([frames.REQUEST] * 40 + [frames.CANCEL, frames.CREDIT]),
    st.sampled_from([0] * 40 + [frames.SOLO, frames.STREAM]),
    st.sampled_from([1000] * 40 + [0, 20]),
    st.sampled_from([0] * 40 + [1, 2, 3, 3, 4, 5]),
    st.sampled_from([0, 1] * 10 + list(range(len(BODIES)))),
    st.integers(0, 2),
)


class Doubles:
    """float32, one a row; 666 is the caller's fault, and 999 has a long answer."""

    row_wise = True

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, batch: Batch) -> Array:
        assert batch.array is not None
        self.batches.append(batch.rows)
        first = batch.array[:, 0]
        if (first == 666).any():
            raise BadInput("666 is not taken")
        wide = np.repeat(first[:, None], 40 if (first == 999).any() else 1, axis=1)
        return (wide / 3).astype(np.float32)


class Served:
    """A worker with three connections."""

    def __init__(self, folder: Path, name: str, **bounds: int) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / name))
        self.listener.listen(8)
        self.clock = ManualClock()
        self.model = Doubles()
        limits = {"payload_bytes": 60, "queue": 8, "max_batch": 4, **bounds}
        self.server = WorkerServer(
            self.listener,
            Predictor(self.model, seconds=60, answer_bytes=300),
            bounds=Bounds(worker_id="w", **limits),
            now=self.clock.monotonic,
        )
        self.peers = []
        for _ in range(3):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(str(folder / name))
            peer.setblocking(False)
            self.server.turn(0.0)
            peer.recv(1000)
            self.peers.append(peer)

    def answers(self) -> list[bytes]:
        found = []
        for peer in self.peers:
            try:
                found.append(peer.recv(1 << 20))
            except BlockingIOError:
                found.append(b"")
        return found

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.server.close()
        self.listener.close()


def without_c(patch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (server, "_waiting_of"),
        (server, "_alike"),
        (batcher, "_survey"),
        (answers, "_quick_predictions"),
        (answers, "_deal"),
    ):
        patch.setattr(module, name, None)
    patch.setattr(frames, "FrameDecoder", frames.PlainFrameDecoder)


Talk = list[list[tuple[int, int, int, int, int, int]]]


def talk(folder: Path, name: str, turns: Talk) -> tuple[list[list[bytes]], list[int]]:
    served = Served(folder, name)
    heard = []
    number = 0
    for asked in turns:
        for kind, flags, milliseconds, meta, body, peer in asked:
            number += 1
            request_id = number - 1 if kind == frames.CANCEL else number
            data = frames.encode_frame(
                kind, request_id, number=milliseconds, flags=flags,
                meta=frames.encode_meta(METAS[meta]), body=BODIES[body],
            )  # fmt: skip
            served.peers[peer].sendall(data)
        served.server.turn(0.0)
        served.clock.advance(0.03)
        heard.append(served.answers())
    for _ in range(20):
        served.server.turn(0.0)
    heard.append(served.answers())
    served.close()
    return heard, served.model.batches


@pytest.mark.usefixtures("frozen")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(REQUEST, max_size=12), min_size=1, max_size=4))
def test_the_same_is_asked_and_answered_with_c_and_without(
    tmp_path_factory: pytest.TempPathFactory, turns: Talk
) -> None:
    folder = tmp_path_factory.mktemp("w")
    with_c = talk(folder, "c", turns)
    with pytest.MonkeyPatch.context() as patch:
        without_c(patch)
        assert talk(folder, "p", turns) == with_c


def predicting(model: Doubles, answer_bytes: int = 300) -> Predictor:
    return Predictor(model, seconds=60, answer_bytes=answer_bytes)


def test_an_ordinary_batch_is_one_predict_and_its_answers_are_bodies() -> None:
    model = Doubles()
    found = predicting(model).answer_alike(BODIES[:2], "application/json", "")
    assert found == (
        answers.JSON,
        [b'{"predictions":[[0.5]]}', b'{"predictions":[[1.0],[1.6666666]]}'],
    )
    in_csv = predicting(model).answer_alike([b"1.5,2", b"3,4\n5,6\n"], "text/csv", "")
    assert in_csv == (answers.CSV, [b"0.5\n", b"1.0\n1.6666666\n"])
    assert model.batches == [3, 3]


def test_what_fails_together_is_predicted_alone() -> None:
    model = Doubles()
    found = predicting(model).answer_alike([b"[[1.5,2]]", BODIES[6]], "application/json", "")
    assert found is not None
    one, other = found[1]
    assert isinstance(one, Answer) and one.body == b'{"predictions":[[0.5]]}'
    assert isinstance(other, Answer) and (other.status, other.body) == (400, b"666 is not taken")
    assert model.batches == [2, 1, 1]


def test_a_long_answer_is_refused_and_its_neighbour_answered() -> None:
    found = predicting(Doubles(), 30).answer_alike(
        [BODIES[1], b"[[1.5,2]]"], "application/json", ""
    )
    assert found is not None
    assert [one.status for one in found[1] if isinstance(one, Answer)] == [500, 200]


@pytest.mark.parametrize(
    ("content_type", "accept"),
    [("text/csv", ARRAYS), ("application/json", "application/x-npy"), ("image/png", ""), ("text/csv", "image/png")],
)  # fmt: skip
def test_nothing_is_predicted_where_answers_are_neither_json_nor_csv(
    content_type: str, accept: str
) -> None:
    model = Doubles()
    assert predicting(model).answer_alike([b"1,2"], content_type, accept) is None
    assert model.batches == []


def test_a_model_that_looks_at_neighbours_is_given_one_at_a_time() -> None:
    model = Doubles()
    model.row_wise = False
    assert predicting(model).answer_alike(BODIES[:2], "application/json", "") is None
    assert predicting(model).answer_alike(BODIES[:1], "application/json", "") is not None


def test_alone_and_together_are_the_same_answers() -> None:
    asked = [Request(body, "application/json", "") for body in BODIES[:2]]
    alone = [predicting(Doubles()).answer([one])[0] for one in asked]
    assert [one.content_type for one in alone] == [answers.JSON] * 2
    together = predicting(Doubles()).answer_alike(BODIES[:2], "application/json", "")
    assert together == (answers.JSON, [one.body for one in alone])
