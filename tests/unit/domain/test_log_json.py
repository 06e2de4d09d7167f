import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.log_filter import NotAPattern, NotExecuted, parse

LINE = json.dumps(
    {
        "level": "ERROR",
        "status": 503,
        "code": "42",
        "share": 0.25,
        "user": {"name": "alice [1]", "first.last": "x"},
        "tags": ["a", {"deep": 7}],
        "gone": None,
        "cached": True,
        "failed": False,
    }
)


@pytest.mark.parametrize(
    "pattern",
    [
        '{ $.level = "ERROR" }',
        "{ $.level = ERROR }",
        "{$.level=ERR*}",
        '{ $.level = "*RR*" }',
        "{ $.status = 503 }",
        "{ $.status = 5.03e2 }",
        "{ $.status != 500 }",
        "{ $.status >= 503 && $.status <= 503 }",
        "{ $.code = 42 }",
        "{ $.share < 1 }",
        '{ $.user.name = "alice [1]" }',
        "{ $.user['first.last'] = x }",
        "{ $.tags[0] = a }",
        "{ $.tags[1].deep > 6.5 }",
        "{ $.gone IS NULL }",
        "{ $.cached IS TRUE }",
        "{ $.failed is false }",
        "{ $.absent NOT EXISTS }",
        "{ $.level = WARN || $.status = 503 }",
        "{ $.level = ERROR && ($.status = 1 || $.share > 0.2) }",
        "{ ($.level = WARN && $.status = 503) || $.code = 42 }",
        "{ $.level = WARN && $.status = 1 || $.code = 42 }",
    ],
)
def test_members_choose_a_line(pattern: str) -> None:
    assert parse(pattern).matches(LINE)


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.level = error }",
        "{ $.absent = x }",
        "{ $.absent != x }",
        "{ $.user != x }",
        '{ $.user.name = "alice?[1]" }',
        "{ $.level = ERR }",
        "{ $.level > 3 }",
        "{ $.cached = true }",
        "{ $.cached > 0 }",
        '{ $.status = "503" }',
        "{ $.gone NOT EXISTS }",
        "{ $.absent IS NULL }",
        "{ $.level = ERROR && $.status = 1 }",
        "{ $.tags[2] = a }",
    ],
)
def test_what_a_line_is_not_does_not_choose_it(pattern: str) -> None:
    assert not parse(pattern).matches(LINE)


@pytest.mark.parametrize("line", ["", "ERROR", "[1]", '{"level": "ERROR"', '"ERROR"', "\ud800{"])
def test_other_lines_do_not_match(line: str) -> None:
    assert not parse("{ $.level NOT EXISTS }").matches(line)


@pytest.mark.parametrize(
    "pattern",
    [
        "{",
        "{}",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a == 1 }",
        "{ a = 1 }",
        "{ ($.a = 1 }",
        "{ $.a = 1 ) }",
        "{ $.a > b }",
        "{ $.a IS MISSING }",
        "{ $.a NOT HERE }",
        '{ $.a = "x }',
        "{ $ = 1 }",
        "{ $.a = 1 && }",
        "{ " + "(" * 50 + "$.a = 1" + ")" * 50 + " }",
    ],
)
def test_what_is_no_condition_is_refused(pattern: str) -> None:
    with pytest.raises(NotAPattern) as caught:
        parse(pattern)
    assert str(caught.value)


@pytest.mark.parametrize("pattern", ["{ $.a = %x.*% }", "{ $.a[*] = 1 }", "{ $.a[*].b = 1 }"])
def test_what_is_not_executed_is_refused(pattern: str) -> None:
    with pytest.raises(NotExecuted, match="not executed"):
        parse(pattern)


@given(st.text("{}$.[]()=!<>&|'\"*% abIS1\\-", max_size=40))
def test_any_braces_are_a_pattern_or_are_refused(text: str) -> None:
    try:
        parse("{" + text + "}").matches(LINE)
    except (NotExecuted, NotAPattern) as error:
        assert str(error)
