"""Tell from Python source what a line of code does."""

import ast
import linecache
from functools import cache


def only_raises(path: str, line: int) -> bool:
    """Return whether a condition on this line does no more than stop the program: `assert`, or `if …: raise`.

    A model that would have stopped has no answer that its export could miss.
    """
    return any(_stops(statement, line) for statement in _statements(path) if _covers(statement, line))


def _stops(statement: ast.stmt, line: int) -> bool:
    if isinstance(statement, ast.Assert):
        return True
    return (
        isinstance(statement, ast.If)
        and statement.test.lineno <= line <= (statement.test.end_lineno or line)
        and all(isinstance(part, ast.Raise) for part in statement.body)
        and not statement.orelse
    )


def _covers(statement: ast.stmt, line: int) -> bool:
    return statement.lineno <= line <= (statement.end_lineno or statement.lineno)


@cache
def _statements(path: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except SyntaxError:  # code that was made at run time, under a name that is no file's
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.stmt))
