"""Meta-World: meta-train a robot arm that reaches for places it does not see, then adapt it to a goal of the test.

Meta-World is installed beside metarl as docs/how-to/meta-world.md says. Its timestep takes about a millisecond, so that
two worker processes play the episodes. Some iterations show that it runs; the arm learns from some tens on:

    python examples/meta_world.py
    python examples/meta_world.py --iterations 40
"""

import sys

import metarl
from metarl.experiments.train import command

FIRST_TEST_GOAL = 50  # of reaching; goals 0 to 49 are those of training


def returns(run_dir: str, goal: int, episodes: int = 5) -> list[float]:
    """The average return at a goal before adaptation, and after a gradient step."""
    agent = metarl.load_agent(run_dir)
    # A task is the row (class, goal); ML1 has the class 0 alone.
    return list(agent.adapt(agent.make_vec(episodes), task=[0, goal]).returns)


if __name__ == "__main__":
    run_dir = "runs/ml1-reach"
    command(["ml1-reach", "--workers", "2", "--iterations", "3", "--run-dir", run_dir, *sys.argv[1:]])
    before, after = returns(run_dir, FIRST_TEST_GOAL)
    print(f"goal {FIRST_TEST_GOAL} of the test: return {before:.1f} before adaptation, {after:.1f} after one step")
