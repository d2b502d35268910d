"""TensorBoard itself, started on a fresh run: what its pages get over HTTP."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from scripts import TOY, run

EVALUATED = "validation/return_step1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard that shows a run, trained with validation and films, and evaluated."""
    run_dir = tmp_path_factory.mktemp("served") / "run"
    options = [*TOY, "--evaluate-every", "1", "--validation-tasks", "2", "--render-every", "2"]
    assert run("train", "navigation", *options, "--run-dir", run_dir).returncode == 0
    assert run("evaluate", run_dir).returncode == 0
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run_dir.parent), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if address := re.search(r"http://\S+:\d+/", line):
                yield address.group()
                break
        server.kill()


def get(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def tags(served: str, plugin: str, least: int) -> dict[str, Any]:
    """run -> tags, once the server has read `least` runs that have some."""
    found: dict[str, Any] = {}
    for _ in range(60):
        found = {name: ones for name, ones in get(f"{served}data/plugin/{plugin}/tags").items() if ones}
        if len(found) >= least:
            break
        time.sleep(0.5)
    return found


def test_pages(served: str) -> None:
    scalars = tags(served, "scalars", 2)
    learning = {f"Learning/{name}" for name in ("rollout/return_step0", "rollout/return_step1", EVALUATED)}
    assert learning | {"outer/kl", "time/sample"} <= set(scalars["run"])
    assert "validation/return_step2" in scalars["run"]  # of further gradient steps elsewhere
    groups = sorted({tag.split("/")[0] for tag in scalars["run"]})
    assert groups[0] == "Learning"  # TensorBoard shows groups in this order
    assert "held-out tasks/average_return/mean" in scalars["run/evaluation"]
    texts = tags(served, "text", 2)
    assert set(texts["run"]) == {"configuration/text_summary", "command/text_summary"}
    assert set(texts["run/evaluation"]) == {"configuration/text_summary"}
    images = tags(served, "images", 2)
    assert (set(images["run"]), set(images["run/evaluation"])) == ({"adaptation"}, {"held-out tasks"})

    layout = get(f"{served}data/plugin/custom_scalars/layout")
    charts = {one["title"]: one["multiline"]["tag"] for category in layout["category"] for one in category["chart"]}
    for title in ("rollout/return", "validation/return"):
        for tag in (f"Learning/{title}_step0", f"{title}_step2"):
            assert re.fullmatch(charts[title][0], tag)

    statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    query = {"experimentName": "", "startIndex": 0, "sliceSize": 9, "colParams": [], "allowedStatuses": statuses}
    groups = get(f"{served}data/plugin/hparams/session_groups", query)["sessionGroups"]
    (session,) = groups  # one row a run
    values = {one["name"]["tag"]: one["value"] for one in session["metricValues"]}
    assert (session["hparams"]["method"], session["hparams"]["hidden_sizes"]) == ("maml", "8")
    assert (session["hparams"]["reward"], session["hparams"]["tasks"]) == ("squared", 2.0)
    experiment = get(f"{served}data/plugin/hparams/experiment", {"experimentName": ""})
    columns = [info["name"] for info in experiment["hparamInfos"]]
    assert columns[:4] == ["inner_step_size", "method", "preset", "seed"]  # by name: TensorBoard's own order
    assert experiment["metricInfos"][0]["name"]["tag"] == "held-out tasks/average_return/mean"
    for name, tag in (
        ("run", "Learning/rollout/return_step1"),
        ("run/evaluation", "held-out tasks/average_return/mean"),
    ):
        last = get(f"{served}data/plugin/scalars/scalars?run={name}&tag={tag.replace(' ', '%20')}")[-1][2]
        assert values[tag] == pytest.approx(last)
