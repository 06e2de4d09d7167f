"""Apertium's translators, which are programs of the machine under the GPL: called as processes, never part of this package.

A pipeline stays running for each pair that is asked for, and is told where a text ends by a zero byte. One that dies or falls
silent is started anew, once for a question; one that was only just started and hangs would do so again.
"""

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from modelyard.ai.apertium_stream import Garbled, Sent
from modelyard.ai.engine import LibraryMissing
from modelyard.ai.questions import Finding, Item
from modelyard.ai.translating import Part, Piece, merged, text_of

SILENCE_SECONDS = 20.0
"""A pipeline that says nothing for so long hangs."""
ANSWER_SECONDS = 45.0
"""And so does one that has not said all by then: who asked waits for a minute."""
PIPELINES_MAX = 8
MODES = "/usr/share/apertium/modes"
_NO_MARKS = "-n"
"""Words that no dictionary has come as they are."""
_CHUNK = 1 << 16
_NOTHING = "Apertium gives no translation of this text."
_PARAGRAPHS = re.compile(r"(\s*\n\s*\n\s*)")


class PipelineFailed(Exception):
    """It died, or hangs."""


class PipelineHangs(PipelineFailed):
    """It says nothing, or no end of it."""


def _pipe_of(mode: str) -> str:
    """The shell's words for a pipeline that keeps markup with its words. Raises ``PipelineFailed``."""
    try:
        return subprocess.run(
            ["apertium-wblank-mode", "-z", f"{MODES}/{mode}.mode"],
            capture_output=True,
            text=True,
            timeout=SILENCE_SECONDS,
            check=True,
        ).stdout
    except subprocess.TimeoutExpired as error:
        raise PipelineHangs(f"apertium {mode} does not start: {error}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise PipelineFailed(f"apertium {mode} cannot be started: {error}") from error


class Pipeline:
    """One pair's processes."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._process = subprocess.Popen(
            ["bash", "-c", _pipe_of(mode), "apertium", _NO_MARKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def translate(self, streams: Sequence[str], *, until: float) -> list[str]:
        """Each stream, translated; in and out at once, so that no pipe fills up. Raises ``PipelineFailed``.

        ``until`` is in monotonic seconds.
        """
        waiting = memoryview(b"".join(stream.encode() + b"\0" for stream in streams))
        said, ended = bytearray(), 0
        into, out = (pipe.fileno() for pipe in self._pipes())
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            if waiting:
                selector.register(into, selectors.EVENT_WRITE)
            while ended < len(streams):
                left = until - time.monotonic()
                ready = selector.select(min(SILENCE_SECONDS, left)) if left > 0 else []
                if not ready:
                    raise PipelineHangs(f"apertium {self._mode} said nothing for too long")
                for one, _ in ready:
                    if one.fd == out:
                        said += (data := self._read(out))
                        ended += data.count(0)
                        continue
                    waiting = waiting[self._write(into, waiting) :]
                    if not waiting:
                        selector.unregister(into)
        return [one.decode(errors="replace") for one in bytes(said).split(b"\0")[: len(streams)]]

    def _read(self, out: int) -> bytes:
        data = os.read(out, _CHUNK)
        if not data:
            raise PipelineFailed(f"apertium {self._mode} ended")
        return data

    def _write(self, into: int, data: memoryview) -> int:
        try:
            return os.write(into, data[:_CHUNK])
        except BrokenPipeError:
            raise PipelineFailed(f"apertium {self._mode} ended") from None

    def close(self) -> None:
        """End its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in self._pipes():
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


class ApertiumEngine:
    """Task ``translate`` (see ``translating``). ``modes``: Apertium's name of each pair."""

    def __init__(self, modes: Mapping[str, str]) -> None:
        self._modes = modes
        self._pipelines: dict[str, Pipeline] = {}
        self._until = 0.0
        """When the answer that is being made has to be whole."""

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """All items go through the pair's pipeline together. Raises ``PipelineFailed`` when it dies twice, or hangs."""
        self._until = time.monotonic() + ANSWER_SECONDS
        mode = self._modes.get(options["pair"])
        if mode is None:
            return [Finding(error=f"There is no pair {options['pair']}.") for _ in items]
        paragraphs = [_paragraphs(item["pieces"]) for item in items]
        translated = iter(self._translate(mode, [one for some in paragraphs for one in some]))
        findings = []
        for some in paragraphs:
            found = [next(translated) for _ in some]
            parts = [part for one in found for part in one or []]
            is_whole = all(one is not None for one in found)
            findings.append(
                Finding(result={"parts": merged(parts)}) if is_whole else Finding(error=_NOTHING)
            )
        return findings

    def _translate(self, mode: str, every: Sequence[Sequence[Piece]]) -> list[list[Part] | None]:
        """Those that come back garbled run by run, which says less but keeps all; None for what cannot be translated."""
        sent = [_sent(pieces) if _has_words(pieces) else None for pieces in every]
        said = iter(self._ask(mode, [one.stream for one in sent if one is not None]))
        found: list[list[Part] | None] = []
        for pieces, one in zip(every, sent, strict=True):
            parts: list[Part] | None = []
            if _has_words(pieces):
                parts = _read(one, next(said)) if one is not None else None
                parts = self._one_by_one(mode, pieces) if parts is None else parts
            found.append(None if parts is None else _with_edges(pieces, parts))
        return found

    def _one_by_one(self, mode: str, pieces: Sequence[Piece]) -> list[Part] | None:
        parts: list[Part] = []
        for number, piece in enumerate(pieces):
            for run in piece:
                text = text_of(run)
                if isinstance(run, str) and _has_words([[run]]):
                    one = _sent([[run]])
                    read = _read(one, *self._ask(mode, [one.stream])) if one is not None else None
                    if read is None:
                        return None
                    text = "".join(part for _, part in _with_edges([[run]], read))
                parts.append((number, text))
        return merged(parts)

    def _ask(self, mode: str, streams: Sequence[str]) -> list[str]:
        if not streams:
            return []
        was_running = mode in self._pipelines
        try:
            return self._pipeline(mode).translate(streams, until=self._until)
        except PipelineFailed as error:
            self._forget(mode)
            if isinstance(error, PipelineHangs) and not was_running:
                raise
        try:
            return self._pipeline(mode).translate(streams, until=self._until)
        except PipelineFailed:
            self._forget(mode)
            raise

    def _pipeline(self, mode: str) -> Pipeline:
        """The one of this pair; the least used of too many goes."""
        found = self._pipelines.pop(mode, None) or Pipeline(mode)
        self._pipelines[mode] = found
        if len(self._pipelines) > PIPELINES_MAX:
            self._forget(next(iter(self._pipelines)))
        return found

    def _forget(self, mode: str) -> None:
        """Nothing happens where it could not even be started."""
        if (pipeline := self._pipelines.pop(mode, None)) is not None:
            pipeline.close()

    def close(self) -> None:
        """End all pipelines."""
        for mode in list(self._pipelines):
            self._forget(mode)


def _sent(pieces: Sequence[Piece]) -> Sent | None:
    try:
        return Sent(pieces)
    except Garbled:
        return None


def _read(one: Sent, said: str) -> list[Part] | None:
    try:
        return one.read(said)
    except Garbled:
        return None


def _paragraphs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """A text without markup falls into its paragraphs, blank lines for themselves; what has markup is one paragraph."""
    if len(pieces) != 1:
        return [list(pieces)]
    found: list[list[Piece]] = []
    runs: list[Any] = []
    for run in pieces[0]:
        for place, part in enumerate(_PARAGRAPHS.split(run) if isinstance(run, str) else [run]):
            if place % 2:
                found += [[runs], [[part]]]
                runs = []
            elif part:
                runs.append(part)
    return [*found, [runs]]


def _has_words(pieces: Sequence[Piece]) -> bool:
    return any(
        isinstance(run, str) and any(letter.isalpha() for letter in run)
        for piece in pieces
        for run in piece
    )


def _edges(text: str) -> tuple[str, str]:
    """The whitespace around it; of nothing but whitespace, all before."""
    bare = text.strip()
    begin = text.index(bare) if bare else len(text)
    return text[:begin], text[begin + len(bare) :]


def _with_edges(pieces: Sequence[Piece], parts: list[Part]) -> list[Part]:
    """The translation between the whitespace that was around the source."""
    source = "".join(text_of(run) for piece in pieces for run in piece)
    if not parts or not source.strip():
        return merged((number, text_of(run)) for number, p in enumerate(pieces) for run in p)
    before, after = _edges(source)
    parts[0] = parts[0][0], before + parts[0][1].lstrip()
    parts[-1] = parts[-1][0], parts[-1][1].rstrip() + after
    return parts


def load(folder: Path | None, options: Mapping[str, str]) -> ApertiumEngine:
    """``pairs``: ``en-es=eng-spa es-en=spa-eng``. Raises ``LibraryMissing``."""
    if shutil.which("apertium") is None:
        raise LibraryMissing("Apertium", "apt-get install apertium")
    pairs = (pair.partition("=") for pair in options.get("pairs", "").split())
    return ApertiumEngine({pair: mode for pair, _, mode in pairs})
