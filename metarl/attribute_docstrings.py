"""The strings below the fields of a dataclass, which Python itself does not keep."""

import ast
import functools
import inspect
import itertools
import textwrap


def attribute_docstrings(kind: type) -> dict[str, str]:
    """The strings below the fields of a dataclass and of its bases, by field; nothing of classes without a source."""
    docstrings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        docstrings |= _own_docstrings(base)
    return docstrings


# Cached, because many kinds have the same bases, and to find a class Python parses the whole file that it is in.
@functools.cache
def _own_docstrings(kind: type) -> dict[str, str]:
    """The strings below the fields that a class itself declares, by field; nothing of a class without a source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        # A class that is built in, typed into a console or made by make_dataclass has no source.
        return {}
    docstrings: dict[str, str] = {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for statement, following in itertools.pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docstrings[statement.target.id] = " ".join(str(following.value.value).split())
    return docstrings
