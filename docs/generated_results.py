"""What reference pages say of results: what training takes and comes to, and what published runs were made with."""

import csv
import functools
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

from generated_tables import table

from metarl.experiments.presets.configuration import PRESETS
from metarl.training.config import Training

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
KEPT = {  # preset -> the run of MAML that is nearest to it
    "navigation-paper": "navigation-paper/maml-seed1",
    "cheetah-vel": "cheetah-vel/maml-seed1",
    "cheetah-dir": "cheetah-dir/maml-seed1",
    "ant-dir": "ant-dir/maml-seed1",
    "ant-vel": "ant-vel/maml-seed1",
    "cheetah-vel-paper": "cheetah-vel-paper/gauss-newton-seed1",
    "cheetah-dir-paper": "cheetah-dir-paper/gauss-newton-seed1",
    "sinusoid": "sinusoid/maml-10shot",
    "omniglot-5way-1shot": "omniglot/5way-1shot",
    "omniglot-5way-5shot": "omniglot/5way-5shot",
}


def costs() -> str:
    """What training by a preset takes and comes to, of those that were timed or of which a run is kept."""
    rows = []
    for name, preset in PRESETS.items():
        iterations = preset.options.get("iterations", Training.iterations)
        # The benchmark's iterations are TRPO's.
        own = [row["total"] for row in _timed() if row["preset"] == name and preset.options["outer"] == "trpo"]
        timed = own[0] if own else None
        if timed is not None:
            rows.append([f"`{name}`", f"{timed:.2g} s", _hours(timed * iterations), f"{iterations:,}", "", "", ""])
        if name in KEPT:
            done, seconds = _trained(RESULTS / KEPT[name])
            steps = json.loads((RESULTS / KEPT[name] / "evaluation.json").read_text())["steps"]
            times = [f"`{name}`", f"{seconds:.2g} s", _hours(seconds * iterations), f"{iterations:,}"]
            until = f", up to iteration {done:,}" if done < 0.9 * iterations else ""
            rows.append([*times, *map(_score, steps[:2]), f"`{KEPT[name]}`{until}"])
    head = ["preset", "an iteration", "all of them", "iterations", "before adaptation", "after one step", "run"]
    return table(head, rows)


@functools.cache
def _timed() -> list[dict[str, Any]]:
    """Iterations that `benchmark.py iteration` timed; of each preset with its own outer step first."""
    return json.loads((RESULTS / "benchmark_iteration.json").read_text())["iteration"]


def optimisers() -> str:
    """Returns of `cheetah-dir` after one step on training tasks, by timesteps: the preset, and without its parts."""
    millions = (1, 2, 4, 8, 16, 32)
    settings = {
        "MAML": "cheetah-dir/maml-seed*",
        "MAML, standard deviation free": "cheetah-dir-free-std/maml-seed*",
        "CAVIA": "cheetah-dir-cavia/cavia-seed*",
        "CAVIA, longer": "cheetah-dir-cavia-long/floor-seed*",
        "CAVIA, standard deviation free": "cheetah-dir-free-std/cavia-seed*",
        "MAML with TRPO": "cheetah-dir-trpo/trpo-seed*",
    }
    rows = [
        [words, path.parent.name.rpartition("seed")[2], *(_near(path, million) for million in millions)]
        for words, runs in settings.items()
        for path in sorted(RESULTS.glob(f"{runs}/metrics.csv"))
    ]
    return table(["settings", "seed", *(f"{m} M" for m in millions)], rows)


def errors(experiment: str) -> str:
    """How far the held-out tasks' episodes are from what was commanded, after each number of gradient steps."""
    rows = []
    for path in sorted((RESULTS / experiment).glob("*/evaluation.json")):
        steps = json.loads(path.read_text())["steps"]
        scores = [step["error"] for step in steps]
        rows.append([f"`{path.parent.name}`", *(f"{s['mean']:.2f} [{s['low']:.2f}, {s['high']:.2f}]" for s in scores)])
    return table(["error, by gradient steps", *map(str, range(len(rows[0]) - 1))], rows)


def _near(metrics: Path, million: int) -> str:
    """The mean return after one step over the iterations within 0.4 million timesteps of some millions, or ""."""
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    near = [row for row in rows if abs(float(row["env_steps"]) - million * 1e6) <= 4e5]
    return f"{statistics.mean(float(row['rollout/return_step1']) for row in near):.0f}" if near else ""


def _trained(run_dir: Path) -> tuple[int, float]:
    """The last iteration of a kept run whose metrics are kept, and the processor seconds of the median one."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["time/iteration"]]
    # Versions before 0.8 measured no processor time.
    seconds = [float(row.get("time/processor") or row["time/iteration"]) for row in rows]
    return int(rows[-1]["iteration"]), statistics.median(seconds)


def _score(step: dict[str, Any]) -> str:
    """The headline score of an evaluation after some gradient steps."""
    name = next(name for name in ("average_return", "accuracy", "loss") if name in step)
    mean = step[name]["mean"]
    return f"{mean:.1%}" if name == "accuracy" else f"{mean:.3g} ({name.replace('average_', '')})"


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f}&nbsp;min" if seconds < 2 * 3600 else f"{seconds / 3600:.0f}&nbsp;h"


def runs(experiment: str) -> str:
    """What the published runs of an experiment were made with."""
    rows = []
    for path in sorted((RESULTS / experiment).glob("*/config.json")):
        document = json.loads(path.read_text())
        config, commit = document["config"], document.get("git_commit") or ""
        size = [str(config["seed"]), f"{config['iterations']:,}"]
        made = [_date(commit), document["versions"]["metarl"], f"`{commit[:10]}`"]
        rows.append([f"`{path.parent.name}`", config["method"], *size, *made])
    return table(["run", "method", "seed", "iterations", "source of", "version", "commit"], rows)


@functools.cache
def _date(commit: str) -> str:
    """The day of a commit; empty where git does not know it."""
    git = ["git", "-C", str(ROOT), "show", "--no-patch", "--format=%cs", commit or "none"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
