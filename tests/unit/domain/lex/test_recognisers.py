"""What people say for dates, times, numbers and the like, and the values that these stand for."""

from datetime import date

import pytest

from modelyard.domain.lex import dates, forms, numbers, times
from modelyard.domain.lex.builtin import BY_SIGNATURE
from modelyard.domain.lex.pattern import BadPattern, compile_pattern
from modelyard.domain.lex.recognisers import examples_of, recogniser_of
from modelyard.domain.lex.vocabulary import Vocabulary, distance

SATURDAY = date(2026, 11, 28)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("twenty three", ["23"]),
        ("I want two pizzas and 3 cokes", ["2", "3"]),
        ("1,200.50 dollars", ["1200.5"]),
        ("a hundred and five", ["105"]),
        ("one thousand two hundred and thirty four", ["1234"]),
        ("three point one four", ["3.14"]),
        ("minus 5", ["-5"]),
        ("-7.50", ["-7.5"]),
        ("ten and two", ["10", "2"]),
        ("that one", []),
        ("room 101b", []),
        ("9" * 31, []),
    ],
)
def test_numbers_become_digits(said: str, values: list[str]) -> None:
    assert [one.value for one in numbers.find(said)] == values


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("tomorrow", "2026-11-29"),
        ("the day after tomorrow", "2026-11-30"),
        ("monday", "2026-11-30"),
        ("saturday", "2026-11-28"),
        ("next monday", "2026-11-30"),
        ("next saturday", "2026-12-05"),
        ("last friday", "2026-11-27"),
        ("November 28", "2026-11-28"),
        ("nov 27th", "2027-11-27"),
        ("27 november 2026", "2026-11-27"),
        ("the twenty fifth of december", "2026-12-25"),
        ("the 5th", "2026-12-05"),
        ("the thirty first", "2026-12-31"),
        ("feb 29", "2028-02-29"),
        ("2026-12-24", "2026-12-24"),
        ("12/24", "2026-12-24"),
        ("in 3 days", "2026-12-01"),
        ("two weeks from tomorrow", "2026-12-13"),
        ("a month ago", "2026-10-28"),
        ("next week", "2026-11-29"),
        ("last week", "2026-11-16"),
        ("next month", "2026-12-31"),
        ("this month", "2026-11-01"),
        ("next year", "2027-12-31"),
        ("christmas", "2026-12-25"),
    ],
)
def test_days_are_read_from_the_day_on_which_they_are_said(said: str, value: str) -> None:
    (found,) = dates.find(f"on {said} please", SATURDAY)
    assert found.value == value and not found.is_weak


@pytest.mark.parametrize("said", ["february 30", "13/45", "9999 years from now", "2026-02-30"])
def test_days_that_there_are_not_are_not_found(said: str) -> None:
    assert [one for one in dates.find(said, SATURDAY) if not one.is_weak] == []


def test_who_puts_the_day_first_is_understood() -> None:
    assert dates.find("3/4/2027", SATURDAY)[0].value == "2027-03-04"
    assert dates.find("3/4/2027", SATURDAY, day_first=True)[0].value == "2027-04-03"


@pytest.mark.parametrize(
    ("said", "readings"),
    [
        ("5pm", ["17:00"]),
        ("5:15 a.m.", ["05:15"]),
        ("17:30", ["17:30"]),
        ("at 5", ["05:00", "17:00"]),
        ("10 o'clock", ["10:00", "22:00"]),
        ("half past six in the evening", ["18:30"]),
        ("quarter to twelve", ["11:45", "23:45"]),
        ("ten to five pm", ["16:50"]),
        ("12 am", ["00:00"]),
        ("noon", ["12:00"]),
        ("in the morning", ["MO"]),
        ("25:00", []),
    ],
)
def test_times_have_one_reading_or_two(said: str, readings: list[str]) -> None:
    found = [one for one in times.find(said) if not one.is_weak]
    assert [reading for one in found for reading in one.readings] == readings
    assert all((one.value is None) == (len(one.readings) > 1) for one in found)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("ten minutes", "PT10M"),
        ("two hours and 30 minutes", "PT2H30M"),
        ("an hour and a half", "PT1H30M"),
        ("half an hour", "PT30M"),
        ("eight weeks", "P8W"),
        ("two years three hours ten minutes", "P2YT3H10M"),
        ("PT2H", "PT2H"),
    ],
)
def test_lengths_of_time_are_iso_8601(said: str, value: str) -> None:
    assert [one.value for one in times.find_durations(said)] == [value]


def test_what_has_a_form_is_found_by_it() -> None:
    mails = forms.emails("mail Ann.Lee@Example.co.uk or bob at example dot com")
    assert [one.value for one in mails] == ["ann.lee@example.co.uk", "bob@example.com"]
    calls = forms.phones("call +1 (555) 123-4567 or five five five one two three four")
    assert [one.value for one in calls] == ["15551234567", "5551234"]
    shares = forms.percentages("twenty three and a half percent, 5%")
    assert [one.value for one in shares] == ["23.5%", "5%"]
    assert [one.value for one in forms.codes("the code AB-12X or a b 1 2")] == ["AB-12X", "ab12"]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("yes please", "Yes"),
        ("Sure, go ahead!", "Yes"),
        ("No, that's wrong", "No"),
        ("I'm not sure", "Don't know"),
        ("maybe", "Maybe"),
        ("yes and no", None),
        ("I want a pizza", None),
        ("", None),
    ],
)
def test_an_answer_of_yes_or_no_says_nothing_else(said: str, answer: str | None) -> None:
    assert forms.confirmation(said) == answer


def test_values_are_found_though_they_are_misspelt() -> None:
    sizes = Vocabulary.of(
        [
            {"sampleValue": {"value": "Large"}, "synonyms": [{"value": "extra large"}]},
            {"sampleValue": {"value": "Pepperoni"}},
        ]
    )
    found = sizes.find("an EXTRA  large peperonni, lrage")
    assert [one.value for one in found] == ["Large", "Pepperoni", "Large"]
    assert sizes.resolve("largo") == ("Large",) and sizes.resolve("huge") == ()
    assert distance("lrage", "large", 2) == 1 and distance("abc", "xyz", 1) == 2


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("[A-Z]{3}[0-9]{1,3}", "ABC12", "AB12"),
        (r"(?:a|b)?\d{4}", "b1234", "c1234"),
        (r"^[^x]{2}$", "ab", "ax"),
        (r"\u0041\-1", "A-1", "A1"),
    ],
)
def test_patterns_fit_the_whole_value(pattern: str, fits: str, does_not: str) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.matches(fits) and not compiled.matches(does_not)


@pytest.mark.parametrize(
    "pattern",
    ["x*", "x+", "a.b", "(?=a)", "a{2,}", "(a", "a)", "[b-a]", "[a", "(a{0,99}){0,99}", "a" * 301],
)
def test_patterns_without_a_bound_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


def test_no_pattern_is_slow() -> None:
    bomb = compile_pattern("(a?){30}" + "a{30}")
    assert bomb.matches("a" * 30) and not bomb.matches("a" * 29 + "b")


def test_every_built_in_type_finds_its_own_examples() -> None:
    for signature in BY_SIGNATURE:
        recogniser = recogniser_of(signature, None, "en_US")
        assert recogniser is not None
        for said in examples_of(signature):
            value = recogniser.value_of(said, 0, len(said), SATURDAY)
            assert value is not None and value.originalValue == said, (signature, said)


def test_a_type_that_is_not_executed_has_no_recogniser() -> None:
    assert recogniser_of("AMAZON.Currency", None, "en_US") is None


def test_a_built_in_type_takes_values_of_the_bots_own() -> None:
    custom = {
        "slotTypeName": "Place",
        "parentSlotTypeSignature": "AMAZON.City",
        "slotTypeValues": [
            {"sampleValue": {"value": "Gotham"}, "synonyms": [{"value": "bat city"}]}
        ],
    }
    place = recogniser_of("T", custom, "en_US")
    assert place is not None and place.is_open
    found = place.find("from bat city to Berlin", SATURDAY)
    assert [one.value for one in found] == ["Gotham", "Berlin"]


def test_a_pattern_narrows_what_is_a_code() -> None:
    custom = {
        "slotTypeName": "Booking",
        "parentSlotTypeSignature": "AMAZON.AlphaNumeric",
        "valueSelectionSetting": {"regexFilter": {"pattern": "[A-Z]{2}[0-9]{2}"}},
    }
    booking = recogniser_of("T", custom, "en_US")
    assert booking is not None
    found = booking.find("AB12 and ABC123", SATURDAY)
    assert [one.value for one in found] == ["AB12"]


@pytest.mark.parametrize("part", ["1", "a", "🍕", "one ", "(", "a@", "5:"])
def test_hostile_texts_are_read_at_once(part: str) -> None:
    text = (part * 1_024)[:1_024]
    for signature in BY_SIGNATURE:
        recogniser = recogniser_of(signature, None, "en_US")
        assert recogniser is not None
        for one in recogniser.find(text, SATURDAY):
            assert 0 <= one.begin < one.end <= len(text)
