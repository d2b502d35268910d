"""An outer optimiser of your own: the meta-gradient with momentum ("heavy ball").

From the command line, and from Python:

    python experiments/train.py navigation --outer examples/own_outer.py:HeavyBall --momentum 0.5
    python examples/own_outer.py

An optimiser is a frozen dataclass of options with a method `build`, which makes two pure functions: a fresh state of
tensors, and one outer step. The state is saved with every checkpoint. A step may ask the `MetaObjective` for more than
the gradient: for the divergence from the policies that acted, and for curvature, as TRPO does.
"""

import tempfile
from dataclasses import dataclass
from typing import Annotated

import torch

import metarl
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import LOSS, Info, Outer, OuterOptimizer, State, nonfinite
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.rules.sgd import SGD
from metarl.metrics import Metric
from metarl.parts import NOT_NEGATIVE, POSITIVE, below
from metarl.supervised.networks.dense import Dense
from metarl.supervised.problem import ExampleSettings, MetaSupervised
from metarl.supervised.regression import function_regression

SPEED = Metric(name="outer/speed", meaning="Euclidean norm of the running sum of gradients that the step follows")


@dataclass(frozen=True, kw_only=True)
class HeavyBall(Outer):
    """Gradient steps with momentum (Polyak 1964): v = momentum v + g, theta = theta - rate v."""

    outer_rate: Annotated[float, POSITIVE] = 0.1
    """Step size of the outer steps."""
    momentum: Annotated[float, NOT_NEGATIVE, below(1)] = 0.9
    """Share of the last step that every step keeps."""

    def build(self) -> OuterOptimizer:
        """Make the optimiser. Where a step is not finite, theta and the state stay as they are."""

        def init(theta: Params) -> State:
            return {"velocity": torch.zeros_like(ravel(theta))}

        def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
            loss, gradient = objective.loss_and_gradient(theta)
            g = ravel(gradient)
            velocity = self.momentum * state["velocity"] + g
            info = {"loss": loss, "grad_norm": g.norm().item(), "nonfinite": 0.0, "speed": velocity.norm().item()}
            if broken := nonfinite(loss=loss, gradient=info["grad_norm"], speed=info["speed"]):
                return theta, state, info | broken
            return add(theta, unravel(velocity, theta), scale=-self.outer_rate), {"velocity": velocity}, info

        return OuterOptimizer(init, step, (*LOSS, SPEED))


def main(run_dir: str, outer: HeavyBall, iterations: int = 100) -> list[float]:
    """Train a network to fit lines from ten points; return its loss on held-out lines before and after adaptation."""
    ranges = {"slope": (-3.0, 3.0), "offset": (-1.0, 1.0)}
    lines = function_regression(lambda x, slope, offset: slope * x + offset, ranges, inputs=(-1.0, 1.0))
    rule = SGD(inner_step_size=0.1).build()
    problem = MetaSupervised(
        lines.distribution,
        Dense(hidden_sizes=(40,)).build(lines.input_shape, lines.outputs, lines.kind),
        lines.kind,
        rule,
        inner_steps=1,
        settings=ExampleSettings(tasks=10, shots=10, queries=10, evaluation_queries=100, log_every=10),
        seed=1,
    )
    state = metarl.train(
        problem, outer.build(), run_dir=run_dir, iterations=iterations, seed=1, checkpoint_every=iterations
    )
    return metarl.evaluate(problem, state.theta, rule=rule, steps=1, tasks=50).scores["loss"].mean(axis=1).tolist()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        before, after = main(folder, HeavyBall(momentum=0.8))
        print(f"loss on held-out lines: {before:.2f} before adaptation, {after:.2f} after one inner step")
