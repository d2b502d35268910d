"""Golden runs: small trainings whose parameters and metrics are recorded, and later compared bit for bit.

Record them before a change that should leave every number as it is, and compare after it:

    python tests/long/golden.py record FILE [--only NAME ...]
    python tests/long/golden.py compare FILE [--only NAME ...]

The code that runs is that of the repository in which this file lies. Last bits depend on the processor and on the
versions of torch and numpy, so record and compare on the same machine; `compare` says where the two differ.
"""

import argparse
import csv
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

# What to adapt when names change: files, flags, and names that the recorded runs have and the present code has not.

ROOT = Path(__file__).resolve().parents[2]
TRAIN, EVALUATE = ROOT / "experiments" / "train.py", ROOT / "experiments" / "evaluate.py"
CHECKPOINT, THETA, METRICS, SCORES = "checkpoint.pt", "theta", "metrics.csv", "evaluation.csv"
TIMES = "time/"  # how the names of metrics begin that no two runs have alike
IDENTITY = ("experiment", "method", "seed")  # columns of evaluation.csv that are no scores

RENAMED_METRICS = {"rollout/diverged": "rollout/broken"}  # recorded name of a metric -> its name now
RENAMED_SCORES = {"diverged": "broken"}  # the same of evaluation.csv, in reinforcement learning
ADDED = re.compile(r"reward/|rollout/achieved_")  # metrics and scores that the recorded runs did not have

ALWAYS = "--iterations 5"
RL = "--tasks 4 --episodes 4 --horizon 50"
VALIDATED = "--evaluate-every 2 --validation-tasks 3 --evaluation-episodes 3"
SUPERVISED = "--no-compile --tasks 4 --log-every 1 --evaluate-every 2 --validation-tasks 4 --render-every 0"
MADE_IMAGES = "--data-dir {images}"  # {images}: the file that `make_images` wrote
EVALUATED_RL = "--tasks 3 --episodes 3 --gradient-steps 2"
EVALUATED_SUPERVISED = "--tasks 5 --gradient-steps 3"


class Golden(NamedTuple):
    """One run: what follows train.py, what follows evaluate.py RUN_DIR, and how many ranks train."""

    train: str
    evaluate: str | None = None
    ranks: int = 1


RUNS = {
    "navigation": Golden(f"navigation {RL}", EVALUATED_RL),
    "navigation-paper": Golden(f"navigation-paper {RL} {VALIDATED}"),
    "cheetah-dir-paper": Golden(f"cheetah-dir-paper {RL}"),
    "cheetah-dir": Golden(f"cheetah-dir {RL} --minibatches 2 {VALIDATED}", EVALUATED_RL),
    "ant-dir": Golden(f"ant-dir {RL} --outer trpo"),
    "ant-vel-paper": Golden(f"ant-vel-paper {RL}"),
    "cheetah-mass": Golden(f"custom --environment metarl/HalfCheetahMass-v0 {RL}"),
    "navigation-2-steps": Golden(f"navigation {RL} --inner-steps 2"),
    "cheetah-dir-2-steps-ratio": Golden(f"cheetah-dir {RL} --outer trpo --inner-steps 2 --inner-loss likelihood_ratio"),
    "navigation-first-order": Golden(f"navigation {RL} --first-order"),
    "navigation-meta-sgd": Golden(f"navigation {RL} --rule meta-sgd"),
    "navigation-pretrained": Golden(f"navigation {RL} --method pretrained"),
    "navigation-oracle": Golden(f"navigation {RL} --method oracle"),
    "navigation-adam": Golden(f"navigation {RL} --outer adam"),
    "navigation-2-ranks": Golden("navigation --tasks 5 --episodes 4 --horizon 50", ranks=2),
    "sinusoid": Golden(f"sinusoid {SUPERVISED}", EVALUATED_SUPERVISED),
    "sinusoid-meta-sgd": Golden(f"sinusoid {SUPERVISED} --rule meta-sgd"),
    "sinusoid-first-order": Golden(f"sinusoid {SUPERVISED} --first-order"),
    "sinusoid-pretrained": Golden(f"sinusoid {SUPERVISED} --method pretrained"),
    "omniglot": Golden(f"omniglot-5way-1shot {SUPERVISED} {MADE_IMAGES} --filters 8"),
    "omniglot-dense": Golden(f"omniglot-5way-1shot {SUPERVISED} {MADE_IMAGES} --network dense --hidden-sizes 32 16"),
}

ENVIRONMENT = {  # of every run: the number of threads decides the order of sums
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}
TIMEOUT = 600  # seconds, of one command
PACKAGES = ("torch", "numpy", "scipy", "mujoco", "gymnasium")

Outcome = dict[str, dict[str, Any]]  # theta: name -> SHA-256; metrics: name -> values; scores: column -> SHA-256


class FailedError(Exception):
    """A command that ended with an error, or did not end."""


def main() -> None:
    """Record or compare, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path, help="the record, in JSON")
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="NAME", help=f"of: {', '.join(RUNS)}")
    arguments = parser.parse_args()
    names = arguments.only or list(RUNS)
    require_own_code()
    if arguments.action == "record":
        record(arguments.file, names)
    elif not compare(arguments.file, names):
        sys.exit(1)


def record(file: Path, names: Sequence[str]) -> None:
    """Make the runs and write what came out; other runs that an existing file of this machine has are kept."""
    before = json.loads(file.read_text()) if file.is_file() else {}
    kept = before["runs"] if before.get("machine") == machine() else {}
    outcomes = make(names)
    if failed := {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}:
        sys.exit("\n".join(f"{name} failed: {reason}" for name, reason in failed.items()) + "\nnothing was recorded")
    runs = {name: run for name, run in (kept | outcomes).items() if name in RUNS}
    file.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
    print(f"{len(outcomes)} runs recorded in {file}, which now has {len(runs)}")


def compare(file: Path, names: Sequence[str]) -> bool:
    """Make the runs again, print what differs from the recorded ones and a table; whether nothing differs."""
    recorded = json.loads(file.read_text())
    for name, value in machine().items():
        if value != recorded["machine"][name]:
            print(f"warning: {name} is {value}, and was {recorded['machine'][name]}: last bits may differ")
    table = Table(title=f"{ROOT} against {file}: what differs, of how much")
    for head in ("run", "parameters", "metrics", "scores", "verdict"):
        table.add_column(head, justify="left" if head in ("run", "verdict") else "right", no_wrap=True)
    same = True
    for name, outcome in make(names).items():
        cells, details = judge(recorded["runs"].get(name), outcome)
        same &= not details
        table.add_row(name, *cells, "DIFFERS" if details else "same")
        print(*(f"{name}: {detail}" for detail in details), sep="\n", end="\n" if details else "")
    Console(width=120).print(table)
    return same


def judge(recorded: Outcome | None, outcome: Outcome | str) -> tuple[list[str], list[str]]:
    """How many parameters, metrics and scores of a run differ, as cells of the table, and each of them in words."""
    if isinstance(outcome, str) or recorded is None:
        return ["", "", ""], [f"failed: {outcome}" if isinstance(outcome, str) else "is not in the record"]
    cells, details = [], []
    for part, renamed in (
        ("theta", renamed_parameters(recorded["theta"])),
        ("metrics", RENAMED_METRICS),
        ("scores", RENAMED_SCORES if "average_return" in recorded["scores"] else {}),
    ):
        expected = {renamed.get(name, name): value for name, value in recorded[part].items()}
        found = {name: value for name, value in outcome[part].items() if name in expected or not ADDED.match(name)}
        differing = differences(expected, found)
        cells.append(f"{len(differing)} / {len(expected.keys() | found.keys())}" if expected else "")
        details += [f"{part}: {words}" for words in differing]
    return cells, details


def renamed_parameters(recorded: Iterable[str]) -> dict[str, str]:
    """The recorded name of each parameter of a run -> its name now."""
    # what is on the path otherwise may be another checkout's
    sys.path.insert(0, str(ROOT))
    from metarl.training.migration import dotted_names

    return dotted_names(recorded)


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The names under which the two have not the same, each with what is there instead."""
    words = []
    for name in dict.fromkeys((*expected, *found)):
        if name not in found:
            words.append(f"{name} is missing")
        elif name not in expected:
            words.append(f"{name} is new")
        elif expected[name] != found[name]:
            words.append(f"{name} {first_difference(expected[name], found[name])}")
    return words


def first_difference(expected: str | list[str], found: str | list[str]) -> str:
    """Where the values of a metric begin to differ; of checksums only that they do."""
    if isinstance(expected, str) or isinstance(found, str):
        return "differs"
    if len(expected) != len(found):
        return f"has {len(found)} values instead of {len(expected)}"
    row = next(i for i, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
    return f"differs from row {row} on: {found[row]} instead of {expected[row]}"


def make(names: Sequence[str]) -> dict[str, Outcome | str]:
    """Train, and evaluate where that is wanted; the outcome of each run, or why it failed."""
    outcomes: dict[str, Outcome | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        if any("{images}" in RUNS[name].train for name in names):
            make_images(images)
        for name in names:
            start = time.perf_counter()
            try:
                outcomes[name] = outcome_of(RUNS[name], Path(folder) / name, images)
            except FailedError as error:
                outcomes[name] = str(error)
            print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return outcomes


def outcome_of(golden: Golden, run_dir: Path, images: Path) -> Outcome:
    """Make one run in `run_dir`, and read what it left there."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(golden.ranks)]
    flags = f"{golden.train} {ALWAYS}".format(images=images).split()
    execute(*(launcher if golden.ranks > 1 else []), TRAIN, *flags, "--run-dir", run_dir)
    if golden.evaluate is not None:
        execute(EVALUATE, run_dir, *golden.evaluate.split())
    theta = torch.load(run_dir / CHECKPOINT, map_location="cpu", weights_only=True)[THETA]
    metrics = columns(run_dir / METRICS)
    scores = columns(run_dir / SCORES, IDENTITY) if golden.evaluate is not None else {}
    return {
        "theta": {name: checksum_of_tensor(leaf) for name, leaf in theta.items()},
        "metrics": {name: values for name, values in metrics.items() if not name.startswith(TIMES)},
        "scores": {name: hashlib.sha256(" ".join(values).encode()).hexdigest() for name, values in scores.items()},
    }


def execute(*arguments: str | Path) -> None:
    """Run Python with these arguments, away from every repository but ROOT. Raises FailedError with its last words."""
    command = [sys.executable, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                command, cwd=empty, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"it did not end in {TIMEOUT} seconds") from error
    if done.returncode:
        raise FailedError(f"exit status {done.returncode}\n{done.stderr[-2000:].strip()}")


def require_own_code() -> None:
    """Stop if the runs would import another checkout's packages than those beside this file."""
    script = "from importlib.util import find_spec as f; print(*(f(n).origin for n in ('metarl', 'experiments')))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd="/", env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    expected = [str(ROOT / package / "__init__.py") for package in ("metarl", "experiments")]
    if done.stdout.split() != expected:
        sys.exit(f"the runs would import {done.stdout.strip()}, not the packages of {ROOT}")


def columns(path: Path, without: Sequence[str] = ()) -> dict[str, list[str]]:
    """The columns of a CSV file, numbers as Python writes them: text that is the same if and only if the bits are."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in without]
    return {name: [repr(float(row[name])) if row[name] else "" for row in rows] for name in names}


def checksum_of_tensor(leaf: Tensor) -> str:
    """SHA-256 of the tensor's type, shape and bytes."""
    digest = hashlib.sha256(f"{leaf.dtype} {tuple(leaf.shape)} ".encode())
    digest.update(leaf.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def make_images(path: Path) -> None:
    """Write a file like Omniglot's cache: 1623 made characters, whose 20 drawings are the same up to some pixels."""
    rng = np.random.default_rng(1)
    drawn = rng.random((1623, 1, 28, 28), np.float32) < 0.15
    flipped = rng.random((1623, 20, 28, 28), np.float32) < 0.05
    names = np.array([f"character{number:04d}" for number in range(1623)])
    np.savez(path, images=(drawn ^ flipped).astype(np.uint8), alphabet=np.full(1623, "Made"), character=names)


def machine() -> dict[str, str]:
    """What last bits depend on beside the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = f"{models[0] if models else 'unknown'}, {torch.backends.cpu.get_cpu_capability()}"
    return {"processor": processor} | {name: importlib.metadata.version(name) for name in PACKAGES}


if __name__ == "__main__":
    main()
