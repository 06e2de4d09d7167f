import pytest

from modelyard.domain.lex.conditions import BadCondition, parse

VALUES = {
    ("slot", "age"): "23",
    ("slot", "make"): "Honda",
    ("slot", "toppings"): "ham,pineapple",
    ("slot", "day"): "2026-11-28",
    ("session", "plan"): "gold",
    ("request", "shop"): "north",
    ("input", "inputTranscript"): "hello",
}


def lookup(kind: str, name: str) -> str | None:
    return VALUES.get((kind, name))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("{age} < 24", True),
        ("{age} >= 24", False),
        ('{make} = "honda"', True),
        ("{make} != 'Civic'", True),
        ("{make} < 5", False),
        ("{make} != 5", True),
        ('{day} > "2026-01-01"', True),
        ('{toppings} CONTAINS "Pineapple"', True),
        ('{toppings} CONTAINS "apple"', False),
        ("fn.COUNT({toppings}) = 2", True),
        ("fn.COUNT({none}) = 0", True),
        ("fn.IS_SET([plan]) AND NOT fn.IS_SET([none])", True),
        ('((shop)) = "north" and $.inputTranscript = "hello"', True),
        ("{none} = 1", False),
        ("NOT {none} = 1", True),
        ('({age} > 30 OR [plan] = "gold") && !({make} = "BMW")', True),
        ('{age} > 30 || [plan] = "gold" AND {make} = "BMW"', False),
    ],
)
def test_conditions_hold_or_do_not(expression: str, expected: bool) -> None:
    assert parse(expression)(lookup) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "", "{age}", "{age} <", "< 5", "{age} < {other}", "{age} < 5 AND", "({age} < 5", "{age} < 5)", "{make} = Honda",
        "fn.LENGTH({age}) = 2", "fn.COUNT({age}", "fn.COUNT", "$.other = 1", "@", '{make} = "Honda', "(" * 200, "NOT " * 200,
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(expression: str) -> None:
    with pytest.raises(BadCondition):
        parse(expression)
