"""README.md and the pages of docs/ are checked against the project: their Python runs, their commands can be parsed,
flags, files and targets exist, and generated pages have all parts.
"""

import ast
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import generate
import generated_parts
import generated_results
import mathml
import meta_world_stand_in
import pytest
import tyro
from docutils import nodes
from scripts import ROOT, TOY, run

import metarl
from metarl.envs import GymnasiumEnvironment
from metarl.experiments import demo, evaluate, plot, render, reproduce
from metarl.experiments.presets.configuration import PRESETS, preset_config
from metarl.experiments.presets.training_arguments import parse
from metarl.experiments.readme import pages
from metarl.parts import REGISTRIES, options
from metarl.problems import PROBLEMS
from metarl.rl.environments import ENVIRONMENTS
from metarl.training.tree import is_hidden, registries

TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in pages()}
EVERYTHING = "\n".join(TEXTS.values())
PYTHON = {page: found for page, text in TEXTS.items() if (found := re.findall(r"```python\n(.*?)```", text, re.S))}
SCRIPT = re.compile(r"(?:experiments/(\w+)\.py|\bmetarl (\w+))((?: [^\s#]+)*)")
OF_AN_EXPERIMENT = ("runs", "errors")  # generators that take an experiment's name
PARSERS = {"demo": demo, "evaluate": evaluate, "plot": plot, "render": render, "reproduce": reproduce}


def commands(page: str) -> list[tuple[str, list[str]]]:
    """The scripts that a page's shell blocks start, with their arguments."""
    fenced = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", TEXTS[page], re.S | re.M)
    blocks = "\n".join(text for language, text in fenced if language in ("", "sh")).replace("\\\n", " ")
    words = re.sub(r"\$\w+", "1", blocks)
    return [(script or name, shlex.split(rest)) for script, name, rest in SCRIPT.findall(words) if rest]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: the repository's files, and one small run of the default name."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("experiments", "examples"):
        (folder / name).symlink_to(ROOT / name)
    done = run("train", "navigation", *TOY, "--run-dir", folder / "runs" / "navigation-maml-seed1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of the user's own are modules only during a test."""
    monkeypatch.chdir(folder)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = re.sub(r"\W", "_", page)
    file = folder / f"{name}.py"
    file.write_text("\n".join(PYTHON[page]))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)


@pytest.mark.parametrize("page", [page for page in TEXTS if commands(page)])
def test_the_commands_of_a_page_can_be_given(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that writes a part of its own names the file that its Python would be saved as."""
    meta_world_stand_in.install(monkeypatch)
    for name, arguments in commands(page):
        for file in re.findall(r"(?<= )(\w+\.py):", " " + " ".join(arguments)):
            (folder / file).write_text("\n".join(PYTHON[page]))
        if name == "train":
            parse(arguments)
        elif name in PARSERS:
            tyro.cli(PARSERS[name].Arguments, args=arguments)
        else:
            assert (ROOT / "experiments" / f"{name}.py").is_file()


def test_there_are_python_blocks() -> None:
    assert sum(map(len, PYTHON.values())) >= 12
    assert "README.md" in PYTHON


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", TEXTS)
def test_named_files_exist(page: str) -> None:
    text = TEXTS[page]
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not link.startswith("http"):
            assert (ROOT / page).parent.joinpath(link.replace("\n", " ")).exists(), link
    for script in re.findall(r"experiments/(\w+\.py)", text):
        assert (ROOT / "experiments" / script).is_file(), script
    for path in re.findall(r"`((?:metarl|envs|examples|tests|experiments)/[a-z_/.-]+)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if "{literalinclude}" in text])
def test_shown_code_exists(page: str) -> None:
    shown = re.findall(r"```\{literalinclude\} (\S+)\n:(pyobject|start-at): ([^\n]+)\n", TEXTS[page])
    assert len(shown) == TEXTS[page].count("{literalinclude}")
    for file, option, name in shown:
        text = (ROOT / page).parent.joinpath(file).read_text()
        tree = ast.parse(text)
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in (names if option == "pyobject" else text.splitlines())


def test_the_walk_through_the_example_shows_its_functions_in_order() -> None:
    """All but how environments are made and arguments read."""
    shown = re.findall(r":pyobject: (\w+)", TEXTS["docs/tutorials/maml-rl-in-one-file.md"])
    tree = ast.parse((ROOT / "examples" / "maml_trpo.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert shown == [name for name in names if name in shown]
    assert set(names) - set(shown) == {"make_env", "parse", "flatten", "unflatten"}


def test_formulas_are_mathml_which_needs_no_script() -> None:
    formula = mathml.written(nodes.math("", r"\theta'_i"), block=False)
    assert formula.startswith("<math") and "<mi>θ</mi>" in formula
    assert mathml.written(nodes.math("", r"\unheard"), block=True) == r"\unheard"  # and a warning of Sphinx


def known_options() -> set[str]:
    known = {option.name for option in options(GymnasiumEnvironment)}  # of anybody's environment
    for preset in ("navigation", "sinusoid"):
        config = preset_config(preset)
        known |= {option.name for option in (*options(type(config)), *options(type(config.problem)))}
        for registry in registries(config).values():
            known |= {option.name for name in registry.names for option in options(registry.find(name))}
    return known


def test_named_flags_exist() -> None:
    files = (*(f"{name}.py" for name in generated_parts.SCRIPTS), "presets/training_arguments.py")
    scripts = "".join((ROOT / "experiments" / file).read_text() for file in files)
    own = "".join(block for blocks in PYTHON.values() for block in blocks)
    own += "".join(path.read_text() for path in (ROOT / "examples").glob("*.py"))
    known = known_options()
    # what goes before the script is torchrun's, or SLURM's
    ours = re.sub(r"(?s)(torchrun|#SBATCH).*?(?=experiments/train.py|\n#|\nsrun)", "", EVERYTHING)
    # TensorBoard's, everybody's, torchrun's, metarl's, pip's
    others = {"logdir", "help", "shutdown-timeout", "version", "no-deps"}
    for flag in set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", ours)) - others:
        name = flag.removeprefix("no-").replace("-", "_")
        assert name in known or f"    {name}: " in scripts or re.search(rf"\b{name}: \w", own), flag


def test_generated_pages_have_every_preset_part_option_and_metric() -> None:
    presets = generated_parts.presets()
    assert all(f"## `{name}`" in presets for name in PRESETS)
    pages = "".join(function() for name, function in generate.GENERATORS.items() if name not in OF_AN_EXPERIMENT)
    modules = [module for name, module in sys.modules.items() if name.startswith("metarl.")]
    ours = {id(thing) for module in modules for thing in vars(module).values()}
    own = {registry for registry in REGISTRIES.values() if id(registry) in ours}  # tests make others
    assert own == {*generated_parts.REGISTRIES.values(), ENVIRONMENTS, PROBLEMS}
    for registry in (*generated_parts.REGISTRIES.values(), ENVIRONMENTS):
        assert all(f"### `{name}`" in pages for name in registry.names if ":" not in name)
        for name in registry.names:
            shown = {option.name.replace("_", "-") for option in options(registry.find(name)) if not is_hidden(option)}
            assert all(f"`--{option}`" in pages for option in shown), name
    config = preset_config("navigation")
    for option in options(type(config)):
        assert is_hidden(option) or option.registry or f"`--{option.name.replace('_', '-')}`" in pages, option.name
    assert all(f"`{metric}`" in pages for metric in ("rollout/return_step{k}", "outer/kl", "train/loss_step{k}"))
    assert "git" not in generated_results.runs("navigation-paper")
    assert generated_results.runs("navigation-paper").count("\n") == 2 + 21


def test_a_marker_that_nothing_generates_is_named() -> None:
    with pytest.raises(ValueError, match="'weather report'"):
        generate.filled("<!-- generate weather report -->")
    assert generate.filled("a <!-- generate weather -->") == "a <!-- generate weather -->"  # not a line of its own


def test_make_targets_exist_and_ci_calls_the_readmes_test_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([\w-]+)", TEXTS["README.md"])) - {"optimisers"}:
        assert re.search(rf"^{target}:", makefile, re.M), target
    calls = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")]
    assert calls == ["make test"]
    assert "\nmake test\n" in TEXTS["README.md"]


def test_the_version_stands_in_one_place() -> None:
    assert metarl.__version__ == importlib.metadata.version("metarl")
    sources = [ROOT / "metarl" / "__init__.py", ROOT / "docs" / "conf.py", ROOT / "CITATION.cff"]
    text = "".join(path.read_text() for path in sources).replace("cff-version: 1.2.0", "")
    assert not re.search(r"\b\d+\.\d+\.\d+\b", text)


def test_signatures_in_columns_become_a_list() -> None:
    match = generate.SIGNATURE.fullmatch("divergence(old, new, batch) -> scalar     what TRPO bounds; None for none")
    assert match is not None
    assert match.groups() == ("divergence(old, new, batch) -> scalar", "what TRPO bounds; None for none")
    assert generate.SIGNATURE.fullmatch("a line (with a bracket) -> and an arrow") is None
