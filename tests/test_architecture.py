"""The layout's promises, read off the source with `ast`: who imports whom, who differentiates, how long files are."""

import ast
import functools
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINKED = ("envs", "experiments")  # folders of the top level that are packages of metarl, by links in it
SOURCES = sorted(path for folder in ("metarl", *LINKED) for path in (ROOT / folder).rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
EVERYTHING = [*SOURCES, *EXAMPLES, *sorted((ROOT / "tests").rglob("*.py"))]

# The foundation imports nothing of metarl but parts of itself.
FOUNDATION = {
    "metarl.arrays",
    "metarl.arguments",
    "metarl.parts",
    "metarl.metrics",
    "metarl.user_code",
    "metarl.extras",
    "metarl.operating_system",
    "metarl.starting_folder",
    "metarl.tasks",
    "metarl.surroundings",
    "metarl.kinds",
    "metarl.numeric",
    "metarl.attribute_docstrings",
    "metarl.reasons",
}
# A layer may import itself, what stands below it, and metarl's root modules (randomness, problem).
MAY_IMPORT = {
    "metarl.arrays": set(),
    "metarl.arguments": {"metarl.kinds", "metarl.parts", "metarl.operating_system", "metarl.starting_folder"},
    "metarl.starting_folder": set(),
    "metarl.user_code": {"metarl.starting_folder"},
    "metarl.operating_system": set(),
    "metarl.kinds": set(),
    "metarl.numeric": set(),
    "metarl.attribute_docstrings": set(),
    "metarl.reasons": set(),
    "metarl.parts": {"metarl.attribute_docstrings", "metarl.kinds", "metarl.user_code"},
    "metarl.metrics": set(),
    "metarl.extras": set(),
    "metarl.tasks": set(),
    "metarl.surroundings": set(),
    "metarl.engine": {"metarl.engine", *FOUNDATION},
    # __init__.py: when asked
    "metarl": {"metarl", "metarl.engine", "metarl.agent", "metarl.training", "metarl.envs", *FOUNDATION},
    "metarl.rl": {"metarl.rl", "metarl.engine", "metarl", *FOUNDATION},
    "metarl.supervised": {"metarl.supervised", "metarl.engine", "metarl", *FOUNDATION},
    "metarl.problems": {"metarl.problems", "metarl.rl", "metarl.supervised", "metarl.engine", "metarl", *FOUNDATION},
    "metarl.training": {"metarl.training", "metarl.problems", "metarl.engine", "metarl", *FOUNDATION},
    "metarl.agent": {"metarl", "metarl.engine", "metarl.rl", "metarl.training", *FOUNDATION},
    "metarl.envs": {
        "metarl.envs",
        "metarl.arguments",
        "metarl.arrays",
        "metarl.parts",
        "metarl.extras",
        "metarl.operating_system",
        "metarl.starting_folder",
        "metarl.user_code",
        "metarl.tasks",
        "metarl.numeric",
    },
}
# What environments need of metarl.rl, and their worker processes, which load no torch.
BASE = tuple(
    f"metarl.rl.{name}"
    for name in ("bounds", "contract", "drawing_tasks", "environments", "step_results", "spaces", "vector_results")
)
MAY_IMPORT["metarl.envs"].update(BASE)
for name in BASE:
    MAY_IMPORT[name] = MAY_IMPORT["metarl.rl"]
LIBRARY = set(MAY_IMPORT)
# The commands at the top of experiments/ use its packages, which use each other as far as said here.
for package, used in {
    "commands": (),
    "presets": ("commands",),
    "figures": ("commands", "presets"),
    "catalogue": ("presets",),
    "analysis": ("commands", "presets", "catalogue"),
    "reproducing": ("analysis", "catalogue"),
    "benchmarks": ("commands", "presets", "analysis"),
}.items():
    MAY_IMPORT[f"metarl.experiments.{package}"] = LIBRARY | {f"metarl.experiments.{name}" for name in (package, *used)}
MAY_IMPORT["metarl.experiments"] = {*MAY_IMPORT, "metarl.experiments"}
MAY_IMPORT["metarl.experiments.benchmarks"].add("metarl.experiments")  # one of them trains
for allowed in MAY_IMPORT.values():
    if "metarl.rl" in allowed:
        allowed.update(BASE)
THIRD_PARTY = {
    "metarl.arrays": {"numpy", "torch"},
    "metarl.arguments": set(),
    "metarl.parts": set(),
    "metarl.operating_system": set(),
    "metarl.metrics": {"torch"},
    "metarl.extras": set(),
    "metarl.tasks": set(),
    "metarl.numeric": {"numpy"},
    "metarl.engine": {"torch"},
    "metarl": {"torch", "numpy"},
    "metarl.agent": {"torch", "numpy", "gymnasium"},
    "metarl.rl": {"torch", "numpy", "gymnasium"},
    "metarl.supervised": {"torch", "numpy", "PIL", "rich", "matplotlib"},
    "metarl.problems": {"torch", "numpy", "gymnasium"},
    "metarl.training": {"torch", "numpy", "scipy", "rich", "tyro", "tensorboard", "imageio", "PIL", "matplotlib"},
    "metarl.envs": {"numpy", "gymnasium", "mujoco", "mujoco_warp", "warp", "torch", "matplotlib"},
}
SEEDS_THEMSELVES = ("metarl.envs.batched", "metarl.envs.adapters.gymnasium_loop")
DRAWS = re.compile(r"torch\.(rand|randn|randint|randperm|normal|bernoulli)(_like)?")
DIFFERENTIATION = {"grad", "grad_and_value", "jvp", "vjp", "jacrev", "jacfwd", "hessian", "linearize", "autograd"}


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("metarl", *parts) if parts[0] in LINKED else parts).removesuffix(".__init__")


MODULES = {module(path) for path in SOURCES}


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a file, each with the text of its function."""
    return ((ast.unparse(node.func), node) for node in nodes(path) if isinstance(node, ast.Call))


def layer(name: str) -> str:
    known = [known for known in MAY_IMPORT if name == known or name.startswith(f"{known}.")]
    return max(known, key=len)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, as dotted names: of `from a.b import c` a.b, and a.b.c where that is one."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {name for alias in node.names if (name := f"{node.module}.{alias.name}") in MODULES}
    return found


def names_used(path: Path) -> set[str]:
    attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    imported = {alias.name for node in nodes(path) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return attributes | imported


def test_imports_point_one_way() -> None:
    for path in SOURCES:
        own = layer(module(path))
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in LINKED, f"{module(path)} imports {name}: it is installed as metarl.{name}"
            if top == "metarl":
                assert layer(name) in MAY_IMPORT[own], f"{module(path)} imports {name}"
            elif own in THIRD_PARTY and top not in sys.stdlib_module_names:
                assert top in THIRD_PARTY[own], f"{module(path)} imports {name}"


def test_the_example_in_one_file_imports_nothing_of_metarl() -> None:
    packages = {name.split(".")[0] for name in imports(ROOT / "examples" / "maml_trpo.py")}
    assert packages - sys.stdlib_module_names == {"torch", "numpy", "gymnasium"}


def test_waiting_threads_sleep_before_torch_is_loaded() -> None:
    """The scripts import `metarl.experiments`, which says so, ahead of anything that loads torch."""
    program = (
        "import os, sys, metarl.experiments; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "passive"
    for script in (ROOT / "experiments").glob("*.py"):
        assert "__main__" not in script.read_text() or "torch" not in imports(script), script


def test_there_are_no_import_cycles() -> None:
    graph = {module(path): imports(path) for path in SOURCES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail, name))}"
        if name in graph and name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_the_engine_differentiates_and_only_maml_takes_an_inner_gradient() -> None:
    for path in SOURCES:
        if module(path).startswith(("metarl.envs", "metarl.experiments")):
            continue
        used = names_used(path) & (DIFFERENTIATION | {"backward"})
        if not module(path).startswith("metarl.engine."):
            assert not used, f"{module(path)} uses {used}"
        elif module(path) not in ("metarl.engine.maml", "metarl.engine.curvature"):
            assert not used, f"{module(path)} uses {used}: inner gradients belong to maml.py"


def test_files_are_short_and_named_for_what_they_know() -> None:
    for path in EVERYTHING:
        assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc"), path
    for path in SOURCES:
        assert len(path.read_text().splitlines()) < 350, path


def test_functions_are_short() -> None:
    """About 40 lines of code: docstrings and signatures are not counted."""
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # pyright: ignore[reportOptionalOperand]
                assert length <= 45, f"{module(path)}.{node.name} has {length} lines"


def test_no_global_randomness_and_no_print_in_the_library() -> None:
    # get_state only looks whether somebody else has drawn
    keyed = ("np.random.default_rng", "np.random.SeedSequence", "np.random.get_state")
    for path in SOURCES:
        if module(path).startswith("metarl.experiments"):
            continue
        for function, call in calls(path):
            where = f"{module(path)}: {ast.unparse(call)}"
            assert function not in {"print", "torch.manual_seed", "random.seed", "random.random"}, where
            assert not function.startswith("np.random.") or function.startswith(keyed), where
            if DRAWS.fullmatch(function):
                assert "generator" in {keyword.arg for keyword in call.keywords}, where
            if function == "np.random.default_rng" and module(path) not in SEEDS_THEMSELVES:
                assert call.args, f"{where}: unseeded generator"


def test_named_mutants_change_lines_that_exist() -> None:
    """A mutant whose text is gone tests nothing."""
    named = runpy.run_path(str(ROOT / "tests" / "long" / "named_mutants.py"))["NAMED"]
    assert [(file, old) for file, old, _ in named if old not in (ROOT / file).read_text()] == []
