"""Metric math: ``m1 / m2 * 100``, ``SUM([m1, m2])``. A small part of CloudWatch's language; the rest is refused by name.

Pure. An expression is read by Python's own parser and then walked: nothing but numbers, names, arithmetic and the
functions below has a meaning.
"""

import ast
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelyard.base.errors import ServiceError, Unsupported

LENGTH_MAX = 2048
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "SUM": sum,
    "AVG": statistics.fmean,
    "MIN": min,
    "MAX": max,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Value by moment."""

    points: Mapping[int, float]


def names_in(expression: str, known: set[str]) -> set[str]:
    """The queries that an expression is made of. Raises ``ValidationError`` for what cannot be read."""
    if not expression:
        return set()
    tree = _parse(expression)
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return found - (called - known)


def evaluate_all(expressions: Mapping[str, str], stats: Mapping[str, Series]) -> dict[str, Series]:
    """Every query by its Id: ``expressions`` of all, empty where it is one of ``stats``.

    Raises ``ValidationError`` for circles, for Ids that nobody has, and for what cannot be read.
    """
    found = dict(stats)
    for name in _in_order(expressions):
        if name not in found:
            found[name] = evaluate(expressions[name], found)
    return found


def _in_order(expressions: Mapping[str, str]) -> list[str]:
    """Each after those that it is made of."""
    order: dict[str, None] = {}
    open_: set[str] = set()

    def visit(name: str) -> None:
        if name in order:
            return
        if name not in expressions or name in open_:
            why = "refers to itself" if name in open_ else "is not among the queries"
            raise ServiceError("ValidationError", f"Error in expression: {name} {why}.")
        open_.add(name)
        for other in sorted(names_in(expressions[name], set(expressions))):
            visit(other)
        open_.discard(name)
        order[name] = None

    for name in expressions:
        visit(name)
    return list(order)


def evaluate(expression: str, known: Mapping[str, Series]) -> Series:
    """A series. Raises ``ValidationError``, and ``UnsupportedOperation`` for functions that are not executed."""
    try:
        result = _value(_parse(expression).body, known)
    except RecursionError as error:
        raise _wrong(f"{expression[:60]}…", "it is nested too deeply") from error
    if isinstance(result, Series):
        return result
    raise _wrong(expression, "it is not a time series")


def _parse(expression: str) -> ast.Expression:
    if len(expression) > LENGTH_MAX:
        raise _wrong(expression[:60], f"it is longer than {LENGTH_MAX} characters")
    if expression.lstrip().upper().startswith(("SELECT", "SEARCH")):
        raise Unsupported("Modelyard does not execute SELECT and SEARCH in metric expressions yet.")
    try:
        return ast.parse(expression.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _wrong(expression, "its syntax is invalid") from error


def _value(node: ast.expr, known: Mapping[str, Series]) -> "float | Series":
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _combine(operator.sub, 0.0, _value(inner, known))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combine(_OPERATORS[type(op)], _value(left, known), _value(right, known))
        case ast.Call(func=ast.Name(id=name), args=[only], keywords=[]) if name in _FUNCTIONS:
            return _apply(name, only, known)
        case ast.Call(func=ast.Name(id=name)):
            raise Unsupported(
                f"Modelyard does not execute {name} in metric expressions yet; it has {', '.join(_FUNCTIONS)}."
            )
        case ast.Name(id=name):
            raise _wrong(name, "there is no query of this Id")
    raise _wrong(ast.unparse(node), "only numbers, Ids, + - * / ^ and functions have a meaning")


def _apply(name: str, argument: ast.expr, known: Mapping[str, Series]) -> "float | Series":
    """Of a list: moment by moment. Of one series: a number."""
    function = _FUNCTIONS[name]
    if isinstance(argument, ast.List):
        parts = [_value(one, known) for one in argument.elts]
        moments: set[int] = set()
        for part in parts:
            moments |= set(part.points) if isinstance(part, Series) else set()
        return Series(
            points={
                at: function([value for part in parts if (value := _at(part, at)) is not None])
                for at in sorted(moments)
            }
        )
    series = _value(argument, known)
    if not isinstance(series, Series):
        return series
    return float(function(list(series.points.values()))) if series.points else 0.0


def _at(part: "float | Series", at: int) -> float | None:
    return part.points.get(at) if isinstance(part, Series) else part


def _combine(
    function: Callable[[float, float], float], left: "float | Series", right: "float | Series"
) -> "float | Series":
    """Where both have a value; a division by zero has none."""
    if not isinstance(left, Series) and not isinstance(right, Series):
        result = _number(function, left, right)
        return 0.0 if result is None else result
    moments = [set(part.points) for part in (left, right) if isinstance(part, Series)]
    points = {}
    for at in sorted(set.intersection(*moments)):
        one, other = _at(left, at), _at(right, at)
        assert one is not None
        assert other is not None
        result = _number(function, one, other)
        if result is not None:
            points[at] = result
    return Series(points=points)


def _number(function: Callable[[float, float], float], left: float, right: float) -> float | None:
    try:
        result = function(left, right)
    except (ZeroDivisionError, OverflowError):
        return None
    return result if isinstance(result, float) else None


def _wrong(expression: str, why: str) -> ServiceError:
    return ServiceError("ValidationError", f"Error in expression '{expression}': {why}.")
