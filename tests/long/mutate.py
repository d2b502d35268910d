"""List one-line changes of a source that the tests do not notice: python tests/long/mutate.py [FILE ...].

Mutants are a fixed sample of those that `mutations` makes of each file, and the faults of `named_mutants`. Each is
tested in a temporary copy of the tree, by the tests that run the changed function, the quickest first, up to a budget
of time. A mutant that they all pass has survived: it is equivalent, or a test is missing.

The tests are collected once. A mutant is a fork with the changed function's code in place of the old one. What no test
runs as a function (the default of an option, a constant, what is called at import) is changed in a file that is
imported anew. Only what tests run in their own process counts for it.
"""

import argparse
import csv
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import NamedTuple

import pytest
from mutations import Mutant, replaced, sampled
from named_mutants import NAMED

ROOT = Path(__file__).parent.parent.parent
LIBRARIES = ("torch", "torch.func", "gymnasium", "mujoco", "scipy.stats", "tyro", "rich.progress")
ELSEWHERE = 3  # times the budget, where no test is known to run what is changed
OWN_ERROR = 99  # status of a process in which this script went wrong: pytest's are lower


class Group(NamedTuple):
    """Sources, and the tests that are collected for their sake."""

    sources: tuple[str, ...]  # patterns
    tests: tuple[str, ...]


GROUPS = (
    Group(("metarl/engine/*.py", "metarl/engine/*/*.py"), ("tests/engine",)),
    Group(("metarl/rl/*.py", "metarl/rl/*/*.py"), ("tests/rl",)),
    Group(("metarl/envs/*.py", "metarl/envs/robots/*.py", "metarl/envs/adapters/*.py"), ("tests/envs",)),
    Group(("metarl/training/*.py", "metarl/training/callbacks/*.py", "metarl/problems/*.py"), ("tests/training",)),
)


class Ran(NamedTuple):
    """What a test took and ran."""

    name: str
    seconds: float
    functions: frozenset[tuple[str, str]]  # (file, qualified name of the outermost function)


class Outcome(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    killer: str  # the test that failed; empty: it survived
    tests: int  # that were to be run


def chosen(tests: Iterable[Ran], mutant: Mutant, budget: float) -> tuple[list[Ran], bool]:
    """The tests of a mutant, and whether they run its function; else those that run its file come first."""

    def rank(test: Ran) -> tuple[bool, float]:
        return all(file != mutant.file for file, _ in test.functions), test.seconds

    of_function = [test for test in tests if (mutant.file, mutant.function) in test.functions]
    found, total = [], 0.0
    for test in sorted(of_function or tests, key=rank):
        total += test.seconds
        if total > (budget if of_function else ELSEWHERE * budget) and found:
            break
        found.append(test)
    return found, bool(of_function)


def in_child(work: Callable[[], int], *, cpu: float) -> int:
    """The exit status of a function in a fork; another than 0 too if it takes more seconds of CPU than it may."""
    child = os.fork()
    if child == 0:
        status = OWN_ERROR
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 5))
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    until = time.monotonic() + 20 * cpu
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


class Place:
    """A copy of the tree, and what a fork leaves for the process that made it.

    Args:
        folder: an empty one.
        covered: file of what each test runs: written, and read where it is there already.
    """

    def __init__(self, folder: Path, covered: Path) -> None:
        self.covered = covered
        self.tree = folder / "tree"
        self.log = folder / "log"
        self.killer = folder / "killer"
        self.outcomes = folder / "outcomes"
        self.time = 1_000_000_000
        ignored = shutil.ignore_patterns(".git", "runs", ".venv", "__pycache__", ".*_cache", "results")
        shutil.copytree(ROOT, self.tree, symlinks=True, ignore=ignored)

    def write(self, file: str, source: str) -> None:
        """Write a source, with a time of its own: no compiled one is taken for it."""
        self.time += 10
        (self.tree / file).write_text(source)
        os.utime(self.tree / file, (self.time, self.time))

    def killed(self, status: int) -> str:
        """What killed a mutant whose process ended so: a test, or a signal, that of a limit of time too; else empty."""
        test = self.killer.read_text()
        if status == OWN_ERROR:
            raise RuntimeError(f"this script went wrong: {self.log.read_text()[-2000:]}")
        return test or (f"signal {-status}" if status < 0 else f"status {status}" if status else "")

    def pytest(self, tests: Iterable[str], plugin: object) -> int:
        """Run tests of the tree in this process, which must not have imported it before."""
        os.chdir(self.tree)
        os.environ["PYTHONPATH"] = str(self.tree)
        sys.path.insert(0, str(self.tree))
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not render"]
        return int(pytest.main([*options, f"--basetemp={self.tree.parent / 'base'}", *tests], plugins=[plugin]))


class Judge:
    """A plugin that writes down the first test that fails."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See pytest."""
        if report.failed and not self.failed:
            self.place.killer.write_text(report.nodeid)
            self.failed = True


class Laboratory(Judge):
    """A plugin that, instead of running the collected tests, finds what each runs, and tests mutants in forks."""

    def __init__(self, place: Place, mutants: list[Mutant], budget: float) -> None:
        super().__init__(place)
        self.mutants = mutants
        self.living: list[FunctionType] = []
        self.budget = budget

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """See pytest."""
        self.place.covered.touch()
        known = {json.loads(line)[0] for line in self.place.covered.read_text().splitlines()}
        in_child(lambda: self._cover([item for item in session.items if item.nodeid not in known]), cpu=3000)
        lines = self.place.covered.read_text().splitlines()
        ran = [Ran(name, seconds, frozenset(map(tuple, hit))) for name, seconds, hit in map(json.loads, lines)]
        items = {item.nodeid: item for item in session.items}
        # isinstance would ask objects that only pretend to have a class
        self.living = [thing for thing in gc.get_objects() if type(thing) is FunctionType]
        gc.freeze()  # or every fork copies what its collector looks at
        with self.place.outcomes.open("w") as file:
            for mutant in self.mutants:
                tests, run_it = chosen([test for test in ran if test.name in items], mutant, self.budget)
                self.place.killer.write_text("")
                status = 0
                if run_it:
                    mine = [items[test.name] for test in tests]
                    cpu = 20 + 5 * sum(test.seconds for test in tests)
                    status = in_child(lambda mutant=mutant, mine=mine: self._judge(mutant, mine), cpu=cpu)
                killer = self.place.killed(status)
                file.write(json.dumps([killer, [test.name for test in tests], run_it]) + "\n")
                file.flush()
        return True

    def _cover(self, items: list[pytest.Item]) -> int:
        codes: set[CodeType] = set()

        def trace(frame: FrameType, event: str, argument: object) -> None:
            codes.add(frame.f_code)

        with self.place.covered.open("a") as file:
            for item, following in zip(items, [*items[1:], None], strict=True):
                codes.clear()
                self.failed = False
                start = time.process_time()
                sys.settrace(trace)
                threading.settrace(trace)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                sys.settrace(None)
                threading.settrace(None)
                taken = time.process_time() - start
                if not self.failed:
                    print(json.dumps([item.nodeid, taken, sorted(self._functions(codes))]), file=file, flush=True)
        return 0

    def _functions(self, codes: set[CodeType]) -> set[tuple[str, str]]:
        root = f"{self.place.tree}/"
        return {
            (code.co_filename.removeprefix(root), code.co_qualname.split(".<locals>")[0])
            for code in list(codes)
            if code.co_filename.startswith(root)
        }

    def _judge(self, mutant: Mutant, items: list[pytest.Item]) -> int:
        """Be the process of one mutant."""
        patch(self.living, str(self.place.tree / mutant.file), mutant)
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return 1
        return 0


def patch(living: Iterable[FunctionType], path: str, mutant: Mutant) -> None:
    """Give those of the living functions that are of a file the mutant's code, where it is as they need it."""
    codes = dict(_codes(compile(mutant.source, path, "exec")))
    for function in living:
        name = function.__code__.co_qualname
        code = codes.get(name)
        mine = name == mutant.function or name.startswith(f"{mutant.function}.<locals>.")
        inside = mine and function.__code__.co_filename == path
        if inside and code is not None and code.co_freevars == function.__code__.co_freevars:
            function.__code__ = code


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def tested(place: Place, tests: tuple[str, ...], mutants: list[Mutant], budget: float) -> Iterator[Outcome]:
    """What becomes of mutants under tests, in order."""
    status = in_child(lambda: place.pytest(tests, Laboratory(place, mutants, budget)), cpu=7200)
    if status not in (0, 5):  # 5: no test was run
        raise ValueError(f"the tests cannot be collected: {place.log.read_text()[-2000:]}")
    for mutant, line in zip(mutants, place.outcomes.read_text().splitlines(), strict=True):
        killer, names, was_run = json.loads(line)
        if names and not was_run:
            original = (ROOT / mutant.file).read_text()
            place.write(mutant.file, mutant.source)
            place.killer.write_text("")
            status = in_child(lambda names=names: place.pytest(names, Judge(place)), cpu=60 + 5 * ELSEWHERE * budget)
            killer = place.killed(status)
            place.write(mutant.file, original)
        yield Outcome(mutant, killer, len(names))


def main(argv: list[str]) -> int:
    """Test the mutants of each file, and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="paths from the root; default: all of GROUPS")
    parser.add_argument("--sample", type=int, default=3, help="mutants of a file at most; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--named", action="store_true", help="the named mutants alone")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds that the tests of a mutant may take")
    parser.add_argument("--covered", type=Path, help="folder to keep what each test runs in, for another call")
    parser.add_argument("--table", type=Path, help="write a csv of all mutants")
    arguments = parser.parse_args(argv)
    for library in LIBRARIES:
        importlib.import_module(library)
    counts: Counter[str] = Counter()
    rows: list[tuple[str, int, str, str, int]] = []
    for number, group in enumerate(GROUPS):
        files = [str(path.relative_to(ROOT)) for pattern in group.sources for path in sorted(ROOT.glob(pattern))]
        files = [file for file in files if not arguments.files or file in arguments.files]
        mutants: list[Mutant] = []
        for file in files:
            source = (ROOT / file).read_text()
            if not arguments.named:
                mutants += sampled(file, source, most=arguments.sample, seed=arguments.seed)
            mutants += [replaced(file, source, old, new) for name, old, new in NAMED if name == file]
        if not mutants:
            continue
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), (arguments.covered or Path(folder)).resolve() / f"covered_{number}")
            for mutant, killer, tests in tested(place, group.tests, mutants, arguments.budget):
                counts["killed" if killer else "survived"] += 1
                rows.append((mutant.file, mutant.line, mutant.words, killer or "survived", tests))
                if not killer:
                    print(f"{mutant.file}:{mutant.line}: {mutant.words} ({tests} tests)", flush=True)
        print(f"{', '.join(group.sources)}: {dict(counts)} so far", flush=True)
        if arguments.table is not None:
            with arguments.table.open("w", newline="") as file:
                csv.writer(file).writerows([("file", "line", "mutant", "killed by", "tests"), *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
