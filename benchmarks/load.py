"""Load from ``wrk``, and a slow second client that compares answers while it runs."""

import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import Case, WrongAnswer

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
CHECK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a server takes one row. ``answers`` is false for one that returns a constant.

    ``headers`` are those of one request after the other, in turn: no two signatures are alike.
    """

    url: str
    headers: tuple[dict[str, str], ...] = ({},)
    answers: bool = True


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one run. Latencies in milliseconds."""

    connections: int
    rate: float
    p50: float
    p99: float
    p999: float
    errors: int


def ask(target: Target, case: Case, *, timeout: float = 10.0) -> None:
    """One request. Raises ``OSError`` where nothing answers, ``WrongAnswer`` where the answer is wrong."""
    headers = {"Content-Type": "application/json", **target.headers[0]}
    request = urllib.request.Request(target.url, data=case.body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        body = answer.read()
    if target.answers:
        case.check(body)


def measure(
    target: Target, case: Case, *, connections: int, seconds: float, folder: Path
) -> Figures:
    """Raises ``WrongAnswer`` if any answer that was looked at is wrong; refusals are counted as errors."""
    if shutil.which("wrk") is None:
        sys.exit("The benchmark needs wrk: apt-get install wrk")
    script = folder / "request.lua"
    script.write_text(_script(target, case))
    stop, wrong = threading.Event(), []
    checker = threading.Thread(target=_compare, args=(target, case, stop, wrong))
    checker.start()
    try:
        threads = 1 if connections < 16 else 2
        command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script)]
        done = subprocess.run(
            [*command, "--latency", "--timeout", "10s", target.url],
            check=True, text=True, capture_output=True, timeout=seconds + 60,
        )  # fmt: skip
    finally:
        stop.set()
        checker.join()
    if wrong:
        raise wrong[0]
    return parse_wrk(done.stdout, connections)


def _compare(target: Target, case: Case, stop: threading.Event, wrong: list[WrongAnswer]) -> None:
    while not stop.wait(CHECK_SECONDS):
        try:
            ask(target, case)
        except WrongAnswer as error:
            wrong.append(error)
            return
        except OSError:
            continue  # refused or too slow under load: wrk counts those


def _script(target: Target, case: Case) -> str:
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{case.body.decode()}]==]"]
    if len(target.headers) == 1:
        lines += [f"wrk.headers[{name}] = {value}" for name, value in _quoted(target.headers[0])]
    else:
        lines += _in_turn(target.headers)
    lines += [
        "done = function(summary, latency, requests)",
        '  io.write(string.format("p999 %d\\n", latency:percentile(99.9)))',
        "end",
    ]
    return "\n".join(lines) + "\n"


def _in_turn(headers: tuple[dict[str, str], ...]) -> list[str]:
    """Requests are made once: to make each as it is sent would be the load generator's own cost."""
    lines = ["local made, at = {}, 0", "init = function(args)"]
    for one in headers:
        table = ", ".join(f"[{name}] = {value}" for name, value in _quoted(one))
        lines.append(f"  made[#made + 1] = wrk.format(nil, nil, {{{table}}})")
    return [
        *lines,
        "end",
        "request = function()",
        "  at = at % #made + 1",
        "  return made[at]",
        "end",
    ]


def _quoted(headers: dict[str, str]) -> list[tuple[str, str]]:
    table = {"Content-Type": "application/json", **headers}
    return [(repr(name), f"[==[{value}]==]") for name, value in table.items()]


def parse_wrk(text: str, connections: int) -> Figures:
    """wrk's own report. Raises ``ValueError`` for another text."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise ValueError(f"wrk reported no rate: {text[-400:]}")
    non_2xx = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    p999 = re.search(r"p999 (\d+)", text)
    return Figures(
        connections=connections,
        rate=float(rate[1]),
        p50=_latency(text, "50"),
        p99=_latency(text, "99"),
        p999=int(p999[1]) / 1000 if p999 else float("nan"),
        errors=(int(non_2xx[1]) if non_2xx else 0)
        + (sum(int(count) for count in sockets.groups()) if sockets else 0),
    )


def _latency(text: str, percentile: str) -> float:
    found = re.search(rf"\s{percentile}%\s+([\d.]+)(us|ms|s|m)\b", text)
    if found is None:
        raise ValueError(f"wrk reported no {percentile}th percentile")
    return float(found[1]) * _UNITS[found[2]]
