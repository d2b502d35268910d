"""List one-line changes of a source file that its tests do not notice: python tests/long/mutate.py [FILE ...].

Each mutant is the tree with one change (an argument dropped, a comparison turned round, + for -, another constant, no
clamp, an early return, two arguments exchanged), in a temporary copy. A mutant that all tests of its file pass has
survived: it is equivalent, or a test is missing. Without FILE all files of TESTS are done.

A process is forked for each mutant, after the libraries were imported once: that saves most of a test run's start.
"""

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
LIBRARIES = ("torch", "torch.func", "gymnasium", "mujoco", "scipy.stats", "tyro", "rich.progress")
LIMITERS = {"clamp", "clip", "detach", "abs", "copy", "clone", "double", "contiguous", "no_grad"}
OTHER_COMPARISON: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OTHER_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip

RL = ("tests/rl/test_problem.py", "tests/rl/test_sampler.py", "tests/rl/test_broken.py", "tests/rl/test_advantages.py")
OPTIONS = (
    "tests/training/test_config.py",
    "tests/training/test_resume_of_options.py",
    "tests/training/test_no_dead_options.py",
)
TESTS: dict[str, tuple[str, ...]] = {  # source file -> the tests that concern it, the quickest to fail first
    "metarl/training/tree.py": ("tests/training/test_tree.py", "tests/training/test_flags.py", *OPTIONS[:2]),
    "metarl/training/flags.py": ("tests/training/test_flags.py", "tests/training/test_config.py"),
    "metarl/training/config.py": (*OPTIONS, "tests/experiments/test_methods.py"),
    "metarl/training/evaluation.py": ("tests/training/test_evaluation.py", "tests/training/test_splits.py", *OPTIONS),
    "metarl/training/loop.py": (
        "tests/training/test_runs.py",
        "tests/training/test_loop.py",
        "tests/training/test_distributed.py",
    ),
    "metarl/problems/reinforcement.py": (*OPTIONS, "tests/experiments/test_methods.py"),
    "metarl/problems/supervised.py": (*OPTIONS, "tests/experiments/test_supervised.py"),
    "metarl/rl/problem.py": RL,
    "metarl/rl/measuring.py": RL,
    "metarl/rl/advantages.py": ("tests/rl/test_advantages.py", "tests/rl/test_problem.py"),
    "metarl/rl/sampler.py": ("tests/rl/test_sampler.py", "tests/rl/test_broken.py", "tests/rl/test_problem.py"),
    "metarl/engine/outer/adam.py": ("tests/engine/test_outer.py",),
    "metarl/engine/outer/trpo.py": ("tests/engine/test_outer.py",),
    "envs/goals.py": ("tests/envs/test_locomotion.py", "tests/envs/test_tasks.py", "tests/envs/test_registry.py"),
    "envs/variations.py": ("tests/envs/test_locomotion.py", "tests/envs/test_tasks.py", "tests/envs/test_registry.py"),
}


class Mutant(NamedTuple):
    """A changed source."""

    line: int
    words: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """All of a source's, in the order of its lines; what the change would leave as it is, is none."""
    tree = ast.parse(source)
    plain = ast.unparse(tree)
    found = []
    decoration = {id(part) for node in ast.walk(tree) for part in _decoration(node)}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in decoration:
            continue
        for number, (words, _) in enumerate(_changes(copy.deepcopy(node))):
            other = copy.deepcopy(tree)
            twin = next(one for position, one in enumerate(ast.walk(other)) if position == index)
            _, change = list(_changes(twin))[number]
            change()
            changed = ast.unparse(ast.fix_missing_locations(other))
            if changed != plain:
                found.append(Mutant(getattr(node, "lineno", 0), words, changed))
    return sorted(found, key=lambda mutant: mutant.line)


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


def survives(tree: Path, tests: tuple[str, ...], limit: float) -> str:
    """What became of the tree's tests within `limit` seconds: killed, survived, or timed out (which is a kill)."""
    child = os.fork()
    if child == 0:
        _test(tree, tests)
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timed out"


def _test(tree: Path, tests: tuple[str, ...]) -> None:
    """Be the process of one mutant: never returns."""
    os.setpgid(0, 0)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    log = os.open(tree.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    code = 1
    try:
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not render", *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main(argv: list[str]) -> int:
    """Test a sample of mutants of each file, and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=list(TESTS), help="paths from the root; default: those of TESTS")
    parser.add_argument("--sample", type=int, default=10, help="mutants of a file at most; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that the tests of a mutant may take")
    arguments = parser.parse_args(argv)
    for library in LIBRARIES:
        importlib.import_module(library)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", "runs", ".venv", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
        for name in arguments.files:
            tests = tuple(test for test in TESTS[name] if (tree / test).exists())
            whole = mutants((ROOT / name).read_text())
            chosen = whole
            if arguments.sample and len(whole) > arguments.sample:
                chosen = sorted(random.Random(arguments.seed).sample(whole, arguments.sample))
            (tree / name).write_text((ROOT / name).read_text())
            if survives(tree, tests, arguments.limit) != "survived":
                print((tree.parent / "log").read_text()[-2000:])
                print(f"{name}: its tests fail or take too long without a change", flush=True)
                return 1
            for mutant in chosen:
                (tree / name).write_text(mutant.source)
                outcome = survives(tree, tests, arguments.limit)
                counts[outcome] += 1
                if outcome == "survived":
                    print(f"{name}:{mutant.line}: {mutant.words}", flush=True)
            (tree / name).write_text((ROOT / name).read_text())
            print(f"{name}: {len(chosen)} of {len(whole)} mutants; {dict(counts)} so far", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
