"""Whole-number arithmetic on named values, as graph descriptions use it; never `eval`.

Legal: names, whole numbers, quoted text, + - * // %, comparisons, and / or / not,
`a if condition else b`, min(...) and max(...).
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from strata.errors import SchemaError, legal

Value = int | str
Scope = Mapping[str, Value]

_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max}
_LONGEST = 200
_BRACES = re.compile(r"\{([^{}]*)\}")


@cache
def _parse(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise SchemaError(f"expression of {len(text)} characters; legal: at most {_LONGEST}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise SchemaError(f"'{text}' is no expression") from None


def names(text: str) -> tuple[str, ...]:
    """Names of values an expression reads, in order of appearance; SchemaError if it is none."""
    found = [node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)]
    return tuple(name for name in dict.fromkeys(found) if name not in _FUNCTIONS)


def _name(name: str, scope: Scope) -> Value:
    if name not in scope:
        raise SchemaError(f"'{name}' has no value here; legal: {legal(scope)}")
    return scope[name]


def _compare(node: ast.Compare, scope: Scope) -> bool:
    left = _value(node.left, scope)
    for comparison, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node, scope)
        if not _COMPARISONS[type(comparison)](left, right):
            return False
        left = right
    return True


def _boolean(node: ast.BoolOp, scope: Scope) -> bool:
    if isinstance(node.op, ast.And):
        return all(_value(value, scope) for value in node.values)
    return any(_value(value, scope) for value in node.values)


def _value(node: ast.expr, scope: Scope) -> Any:
    match node:
        case ast.Constant(value=int() | str() as value):
            return value
        case ast.Name(id=name):
            return _name(name, scope)
        case ast.BinOp(left=left, op=action, right=right) if type(action) in _ARITHMETIC:
            return _ARITHMETIC[type(action)](*_whole(_value(left, scope), _value(right, scope)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_whole(_value(operand, scope))[0]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, scope)
        case ast.Compare(ops=ops) if all(type(item) in _COMPARISONS for item in ops):
            return _compare(node, scope)
        case ast.BoolOp():
            return _boolean(node, scope)
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            return _value(body if _value(test, scope) else otherwise, scope)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if (
            name in _FUNCTIONS
        ):
            return _FUNCTIONS[name](*_whole(*(_value(item, scope) for item in args)))
    raise SchemaError(
        f"'{ast.unparse(node)}' is not allowed; legal: names, whole numbers, text, "
        "+ - * // %, comparisons, and, or, not, if, min, max"
    )


def _whole(*values: object) -> list[int]:
    for value in values:
        if not isinstance(value, int):
            raise SchemaError(f"'{value}' is text where a whole number is needed")
    return list(values)  # type: ignore[arg-type]


def evaluate(text: str, scope: Scope) -> Value:
    """Value of one expression.

    SchemaError for a form outside the list above, an unknown name, text where a number is
    needed, or a division by zero.
    """
    try:
        return _value(_parse(text), scope)
    except (ZeroDivisionError, TypeError) as error:
        raise SchemaError(f"'{text}': {error}") from None
    except SchemaError as error:
        raise SchemaError(f"'{text}': {error}") from None


def fill(template: str, scope: Scope) -> Value:
    """A text with its {expressions} replaced; "{expression}" alone keeps its type."""
    whole = _BRACES.fullmatch(template)
    if whole:
        return evaluate(whole[1], scope)
    return _BRACES.sub(lambda found: str(evaluate(found[1], scope)), template)
