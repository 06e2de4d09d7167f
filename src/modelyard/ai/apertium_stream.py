"""Apertium's stream format: texts on their way into a pipeline and out of it. Pure.

A stretch of symbols travels as a superblank (``[@]``), which no stage looks into; a piece of markup as a word-bound blank
(``[[t:p:3]]red[[/]]``), which moves with its words; what must not be translated as a word that no dictionary has, since that
alone keeps its place in the grammar.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from modelyard.ai.translating import Part, Piece, merged

_SYMBOLS = re.compile(r"(?:[\^$@/\\\[\]{}<>~*#+=|_]|\s{2,}|[^\S ])+")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S*[^\s.,;:!?)\"'»]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SPECIAL = re.compile(r"[\^$@/\\\[\]{}<>]")
_BOUND = re.compile(r"\[\[(?:t:p:\d+; ?)*t:p:(\d+)\]\](.*?)\[\[/\]\]", re.DOTALL)
"""Words that became one bear the markup of the last of them."""
_BLANK = re.compile(r"(\[(?:\\.|[^\]\\])*\])", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)|[\[\]]", re.DOTALL)
_AFTER_LINE = re.compile(r"(\n\]) +")
_WORD = re.compile(r"zqx([a-j]+)xqz", re.IGNORECASE)
_ENDS = (".", "!", "?", "…", ":", ";")
_END, _OPEN_END = "[]", ".[]"
"""A text ends with a blank, or nothing comes out; one without a full stop is given one on its way."""
_LETTERS = "abcdefghij"
"""Digits would be translated as numbers."""


class Garbled(Exception):
    """What came back is not what was sent, translated; or what is to be sent holds words of ours."""


class Sent:
    """One item as it travels, and what is needed to read its translation. Raises ``Garbled``."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._fixed: list[str] = []
        self._many = len(pieces) > 1
        text = "".join(self._bound(number, piece) for number, piece in enumerate(pieces))
        self._is_open = not text.rstrip("]/[ ").endswith(_ENDS)
        self.stream = text + (_OPEN_END if self._is_open else _END)

    def _bound(self, number: int, piece: Piece) -> str:
        """Whitespace around a piece belongs to the sentence."""
        text = "".join(
            self._text(run) if isinstance(run, str) else self._word(run["fixed"]) for run in piece
        )
        if not self._many or not text.strip():
            return text
        bare = text.strip(" ")
        begin = text.index(bare)
        return f"{text[:begin]}[[t:p:{number}]]{bare}[[/]]{text[begin + len(bare) :]}"

    def _word(self, fixed: str) -> str:
        self._fixed.append(fixed)
        return _name(len(self._fixed) - 1)

    def _text(self, text: str) -> str:
        if _WORD.search(text):
            raise Garbled(text)
        pieces, place = [], 0
        for address in _ADDRESS.finditer(text):
            pieces += [_escaped(text[place : address.start()]), self._word(address[0])]
            place = address.end()
        return "".join([*pieces, _escaped(text[place:])])

    def read(self, stream: str) -> list[Part]:
        """The translation. Raises ``Garbled``."""
        ending = _OPEN_END if self._is_open else _END
        said = _tidy(stream.removesuffix(ending if stream.endswith(ending) else _END))
        parts = _parts(said) if self._many else [(0, said)]
        plain = merged((number, _ESCAPED.sub(r"\1", text)) for number, text in parts)
        seen: list[int] = []

        def put(word: re.Match[str]) -> str:
            seen.append(int("".join(str(_LETTERS.index(letter)) for letter in word[1].lower())))
            return self._fixed[seen[-1]]

        try:
            read = [(number, _WORD.sub(put, text)) for number, text in plain]
        except (ValueError, IndexError):
            raise Garbled(stream) from None
        if sorted(seen) != list(range(len(self._fixed))) or not any(text for _, text in read):
            raise Garbled(stream)
        return _stripped(read)


def _name(number: int) -> str:
    return "zqx" + "".join(_LETTERS[int(digit)] for digit in str(number)) + "xqz"


def _escaped(text: str) -> str:
    def blank(symbols: re.Match[str]) -> str:
        return "[" + _SPECIAL.sub(r"\\\g<0>", symbols[0]) + "]"

    return _SYMBOLS.sub(blank, text.replace("\0", ""))


def _tidy(stream: str) -> str:
    """Words that the grammar dropped leave their spaces; those of the source that matter travel as blanks."""
    pieces = _BLANK.split(stream)
    pieces[::2] = [re.sub(" {2,}", " ", piece) for piece in pieces[::2]]
    return _AFTER_LINE.sub(r"\1", "".join(pieces))


def _parts(stream: str) -> list[Part]:
    """What stands between two parts belongs to the one before it, unless it opens the sentence."""
    found = list(_BOUND.finditer(stream))
    if not found:
        raise Garbled(stream)
    parts = [(int(found[0][1]), stream[: found[0].start()])]
    for this, after in pairwise(found):
        parts += [(int(this[1]), this[2]), (int(this[1]), stream[this.end() : after.start()])]
    last = found[-1]
    return [*parts, (int(last[1]), last[2]), (int(last[1]), stream[last.end() :])]


def _stripped(parts: list[Part]) -> list[Part]:
    if parts:
        parts[0] = parts[0][0], parts[0][1].lstrip(" ")
        parts[-1] = parts[-1][0], parts[-1][1].rstrip(" ")
    return parts
