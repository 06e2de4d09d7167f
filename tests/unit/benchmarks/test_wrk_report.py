"""What the benchmark reads out of wrk's own report, and that it never takes a wrong answer for a fast one."""

import pytest
from benchmarks.load import parse_wrk
from benchmarks.models import Case, WrongAnswer
from benchmarks.results import Row, median_row, picture

REPORT = """Running 3s test @ http://127.0.0.1:8671/endpoints/e/invocations
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.27ms  512.00us  12.54ms   88.10%
    Req/Sec    13.37k     1.02k   15.00k    71.00%
  Latency Distribution
     50%    2.19ms
     75%    2.51ms
     90%    2.94ms
     99%  812.00us
  80211 requests in 3.01s, 15.53MB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 7
Requests/sec:  26647.51
Transfer/sec:      5.16MB
p999 9876
"""


def test_every_figure_of_a_report() -> None:
    found = parse_wrk(REPORT, 64)
    assert (found.rate, found.p50, found.p99, found.p999) == (26647.51, 2.19, 0.812, 9.876)
    assert found.errors == 13


def test_another_text_is_no_report() -> None:
    with pytest.raises(ValueError, match="no rate"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused", 1)


@pytest.mark.parametrize(
    "answer",
    [b"[[0.5]]", b'{"predictions": [0.5]}', b'{"predictions": [[0.5000001]]}'],
)
def test_right_answers_in_every_servers_form(answer: bytes, tmp_path: object) -> None:
    case().check(answer)


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"predictions": [0.6]}', b'{"error": "x"}'])
def test_a_wrong_answer_voids_the_run(answer: bytes) -> None:
    with pytest.raises(WrongAnswer):
        case().check(answer)


def case() -> Case:
    from pathlib import Path

    return Case(name="tiny", path=Path("tiny.onnx"), body=b"{}", expected=0.5)


def test_medians_of_runs_and_their_picture() -> None:
    rows = [
        Row(system="modelyard", case="tiny", figures=parse_wrk(REPORT.replace("26647", rate), 64),
            memory_mib=200.0, start_seconds=1.0, runs=1)
        for rate in ("10000", "30000", "20000")
    ]  # fmt: skip
    middle = median_row(rows)
    assert (middle.figures.rate, middle.figures.errors, middle.runs) == (20000.51, 39, 3)
    assert "20,001" in picture([middle], "title")
