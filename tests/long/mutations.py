"""One-line changes of a source: an argument dropped, a comparison turned round, + for -, another constant, no clamp."""

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

LIMITERS = {"clamp", "clip", "detach", "abs", "copy", "clone", "double", "contiguous", "no_grad"}
OTHER_COMPARISON: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OTHER_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """A changed source."""

    file: str
    line: int
    words: str
    source: str
    function: str | None  # qualified name of the outermost function whose body changed; None: of the module, or a class


def sampled(file: str, source: str, *, most: int, seed: int) -> list[Mutant]:
    """A fixed sample of a source's mutants, in the order of its lines; `most` 0: all of them."""
    tree = ast.parse(source)
    sites = _sites(tree)
    random.Random(seed).shuffle(sites)
    found: list[Mutant] = []
    for index, number in sites:
        mutant = _mutant(file, tree, index, number)
        if mutant is not None:
            found.append(mutant)
        if len(found) == most:
            break
    return sorted(found, key=lambda mutant: mutant.line)


def replaced(file: str, source: str, old: str, new: str) -> Mutant:
    """The source with one text for another. Raises ValueError unless the old one is there exactly once."""
    if source.count(old) != 1:
        raise ValueError(f"{file} has {source.count(old)} times {old!r}: a mutant replaces a text that is there once")
    line = source[: source.index(old)].count("\n") + 1
    return Mutant(file, line, f"{old} -> {new}", source.replace(old, new), _function(ast.parse(source), line))


def _sites(tree: ast.AST) -> list[tuple[int, int]]:
    """Where changes can be made: the number of a node in the order of a walk, and of a change of this node."""
    decoration = {id(part) for node in ast.walk(tree) for part in _decoration(node)}
    return [
        (index, number)
        for index, node in enumerate(ast.walk(tree))
        if id(node) not in decoration
        for number, _ in enumerate(_changes(node))
    ]


def _mutant(file: str, tree: ast.Module, index: int, number: int) -> Mutant | None:
    """The mutant of a site; None if the source stays as it is."""
    other = copy.deepcopy(tree)
    node = list(ast.walk(other))[index]
    line = getattr(node, "lineno", 0)
    inside = node.body[0].lineno if isinstance(node, ast.FunctionDef) else line
    words, change = list(_changes(node))[number]
    change()
    changed = ast.unparse(ast.fix_missing_locations(other))
    return None if changed == ast.unparse(tree) else Mutant(file, line, words, changed, _function(tree, inside))


def _function(tree: ast.AST, line: int, above: str = "") -> str | None:
    """The outermost function with the line in its body."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
            return above + node.name
        if isinstance(node, ast.ClassDef) and node.lineno <= line <= (node.end_lineno or 0):
            return _function(node, line, f"{above}{node.name}.")
    return None


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each change of one node: in words, and as a function that makes it in place."""
    match node:
        case ast.Call():
            for index, keyword in enumerate(node.keywords):
                if keyword.arg is not None:
                    yield f"without {keyword.arg}= in {_short(node)}", lambda index=index: node.keywords.pop(index)
            if len(node.args) == 2 and not any(isinstance(one, ast.Starred) for one in node.args):
                yield f"arguments exchanged in {_short(node)}", node.args.reverse
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr in LIMITERS:
                yield f"without .{function.attr} in {_short(node)}", lambda: _become(node, function)
        case ast.Compare() if len(node.ops) == 1 and type(node.ops[0]) in OTHER_COMPARISON:
            other = OTHER_COMPARISON[type(node.ops[0])]()
            yield f"turned round: {_short(node)}", lambda: node.ops.__setitem__(0, other)
        case ast.BinOp() if type(node.op) in OTHER_OPERATOR and not _is_type(node):
            yield f"another operator: {_short(node)}", lambda: setattr(node, "op", OTHER_OPERATOR[type(node.op)]())
        case ast.BoolOp():
            other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"and for or, or for and: {_short(node)}", lambda: setattr(node, "op", other_op)
        case ast.UnaryOp() if isinstance(node.op, ast.Not | ast.USub):
            yield f"without the sign or not: {_short(node)}", lambda: _become_operand(node)
        case ast.Constant(value=bool() as truth):
            yield f"not {truth}", lambda: setattr(node, "value", not truth)
        case ast.Constant(value=int() | float() as number):
            yield f"{number} + 1", lambda: setattr(node, "value", number + 1)
        case ast.IfExp():
            yield f"branches exchanged: {_short(node)}", lambda: _exchange(node)
        case ast.FunctionDef() if len(node.body) > 2:
            yield f"{node.name} returns at once", lambda: node.body.insert(1, ast.Return(ast.Constant(None)))
        case ast.Expr() if isinstance(node.value, ast.Call):
            yield f"not done: {_short(node)}", lambda: setattr(node, "value", ast.Constant(None))


def _decoration(node: ast.AST) -> Iterator[ast.AST]:
    """What decorators and declarations of metrics are made of: words for readers, and whether a dataclass is frozen."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Metric":
        yield from ast.walk(node)
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        for decorator in node.decorator_list:
            yield from ast.walk(decorator)


def _short(node: ast.AST) -> str:
    return ast.unparse(node).replace("\n", " ")[:70]


def _is_type(node: ast.BinOp) -> bool:
    """Whether it looks like a union of types."""
    return isinstance(node.op, ast.BitOr) and any(isinstance(one, ast.Constant) for one in (node.left, node.right))


def _become(node: ast.Call, function: ast.Attribute) -> None:
    """Make x.clamp(...) the same as x."""
    node.func, node.args, node.keywords = ast.parse("(lambda value: value)", mode="eval").body, [function.value], []


def _become_operand(node: ast.UnaryOp) -> None:
    node.op = ast.UAdd()
    if isinstance(node.operand, ast.Compare | ast.Call | ast.Attribute | ast.Name | ast.NamedExpr | ast.BoolOp):
        node.operand = ast.Call(ast.Name("(lambda value: value)"), [node.operand], [])


def _exchange(node: ast.IfExp) -> None:
    node.body, node.orelse = node.orelse, node.body
