"""Slot values that are known by their form: addresses, telephone numbers, codes, percentages; and yes and no."""

import re

from modelyard.domain.lex import numbers
from modelyard.domain.lex.matches import Match, disjoint, folded
from modelyard.domain.lex.pattern import Pattern

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,5}\.[A-Za-z]{2,24}\b")  # fmt: skip
_SPOKEN = re.compile(r"\b[a-z0-9._-]{1,64}[ ]at[ ][a-z0-9-]{1,63}(?:[ ]dot[ ][a-z0-9-]{2,24}){1,3}\b")  # fmt: skip
_PHONE = re.compile(r"(?<![\w.])\+?\(?\d[\d ().-]{4,22}\d(?!\w)")
_SPOKEN_DIGIT = r"(?:" + "|".join(word for word, value in numbers.WORDS.items() if value < 10) + ")"
_SPOKEN_PHONE = re.compile(rf"\b{_SPOKEN_DIGIT}(?:[ ,-]+{_SPOKEN_DIGIT}){{4,14}}\b")
_DIGITS_MIN, _DIGITS_MAX = 5, 15
_PERCENT = re.compile(r"[ ]*(?:%|percent\b|per cent\b)")
_HALF = re.compile(r"[ ]+and a half(?=[ ]*(?:%|percent\b|per cent\b))")
_CODE = re.compile(r"[A-Za-z0-9]{1,100}(?:[-_][A-Za-z0-9]{1,40}){0,5}")
_SPELT = re.compile(r"\b[A-Za-z0-9](?:[ -][A-Za-z0-9]){2,30}\b")

YES = (
    "yes|yeah|yep|yup|ya|sure|sure thing|ok|okay|okey|correct|right|that's right|thats right|that is right|that's correct|"
    "that is correct|absolutely|definitely|certainly|of course|indeed|affirmative|exactly|please do|do it|go ahead|go for it|"
    "sounds good|looks good|perfect|fine|all right|alright|confirm|confirmed|i do|i am|i would|i'd like that|y|why not|"
    "yes please|please|oui|si|sí|ja|sim|hai|d'accord|claro|genau|certo|はい|네|是|是的"
)
NO = (
    "no|nope|nah|no thanks|no thank you|not really|not now|don't|do not|never|negative|incorrect|wrong|that's wrong|thats wrong|"
    "that's not right|that is wrong|that is not right|not correct|absolutely not|definitely not|of course not|i don't|"
    "i do not|i'd rather not|no way|n|cancel|stop|non|nein|não|nao|いいえ|아니요|不|不是"
)
_MAYBE = "maybe|perhaps|possibly|might be|it depends|could be"
_UNKNOWN = (
    "i don't know|don't know|do not know|dont know|not sure|i'm not sure|no idea|dunno|unsure"
)
_ANSWERS = {
    **dict.fromkeys(YES.split("|"), "Yes"),
    **dict.fromkeys(NO.split("|"), "No"),
    **dict.fromkeys(_MAYBE.split("|"), "Maybe"),
    **dict.fromkeys(_UNKNOWN.split("|"), "Don't know"),
}
_FILLING = frozenset(
    ["please", "thanks", "thank", "you", "it", "that", "this", "is", "i", "it's", "that's", "and", "well", "oh", "um", "so",
     "then", "just", "very", "much", "do", "go", "ahead", "me", "for", "all", "the", "would", "like", "to", "want", "place",
     "order", "book", "am"]
)  # fmt: skip
_WORDS_MAX = 8


def emails(text: str) -> list[Match]:
    """Addresses, in small letters; also as they are said: "ann at example dot com"."""
    found = [
        Match(begin=one.start(), end=one.end(), value=one.group().lower())
        for one in _EMAIL.finditer(text)
    ]
    for one in _SPOKEN.finditer(folded(text)):
        said = one.group().replace(" at ", "@", 1).replace(" dot ", ".")
        found.append(Match(begin=one.start(), end=one.end(), value=said))
    return disjoint(found)


def phones(text: str) -> list[Match]:
    """Telephone numbers, as digits."""
    found = []
    for one in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", one.group())
        if _DIGITS_MIN <= len(digits) <= _DIGITS_MAX and not re.fullmatch(
            r"\d{4}-\d\d-\d\d", one.group()
        ):
            found.append(Match(begin=one.start(), end=one.end(), value=digits))
    for one in _SPOKEN_PHONE.finditer(folded(text)):
        words = re.findall(r"[a-z]+", one.group())
        digits = "".join(str(numbers.WORDS[word]) for word in words)
        found.append(Match(begin=one.start(), end=one.end(), value=digits))
    return disjoint(found)


def percentages(text: str) -> list[Match]:
    """Numbers with a percent sign or word, as "23%"; bare numbers, as they are, where one is expected."""
    small = folded(text)
    found = []
    for number in numbers.find(text):
        half = _HALF.match(small, number.end)
        sign = _PERCENT.match(small, half.end() if half else number.end)
        if sign:
            value = f"{number.value}.5" if half else number.value
            found.append(Match(begin=number.begin, end=sign.end(), value=f"{value}%"))
        else:
            found.append(
                Match(begin=number.begin, end=number.end, value=number.value, is_weak=True)
            )
    return found


def codes(text: str, pattern: Pattern | None = None) -> list[Match]:
    """Letters and digits, together or spelt out: those that fit the pattern, or that have a digit."""
    found = [
        Match(begin=one.start(), end=one.end(), value=one.group())
        for one in _CODE.finditer(text)
        if _is_code(one.group(), pattern)
    ]
    for one in _SPELT.finditer(text):
        joined = re.sub(r"[ -]", "", one.group())
        if _is_code(joined, pattern):
            found.append(Match(begin=one.start(), end=one.end(), value=joined))
    return disjoint(found)


def _is_code(said: str, pattern: Pattern | None) -> bool:
    if pattern is not None:
        return pattern.matches(said)
    return any(character.isdigit() for character in said)


def confirmations(text: str) -> list[Match]:
    """Yes, No, Maybe or Don't know, where the text says nothing else."""
    answer = confirmation(text)
    return [] if answer is None else [Match(begin=0, end=len(text), value=answer)]


def confirmation(text: str) -> str | None:
    """How a whole text answers a question of yes or no."""
    small = folded(text).strip(" .!?,\t\n")
    if small in _ANSWERS:
        return _ANSWERS[small]
    words = re.findall(r"[\w']+", small)
    if not words or len(words) > _WORDS_MAX:
        return None
    for length in range(min(4, len(words)), 0, -1):
        for begin in range(len(words) - length + 1) if length > 1 else (0,):
            answer = _ANSWERS.get(" ".join(words[begin : begin + length]))
            rest = words[:begin] + words[begin + length :]
            if answer and all(one in _FILLING or _ANSWERS.get(one) == answer for one in rest):
                return answer
    return None
