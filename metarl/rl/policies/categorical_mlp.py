"""A policy for discrete actions: a fully connected network for the logits of the categories."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from gymnasium import Space

from metarl.engine.model import Model, mlp
from metarl.parts import POSITIVE, at_least
from metarl.rl.policies import POLICIES
from metarl.rl.policies.policy import CATEGORICAL, Policy, categorical
from metarl.rl.spaces import categories, observation_size


@POLICIES.register("categorical_mlp")
@dataclass(frozen=True, kw_only=True)
class CategoricalMLP(Policy):
    """A choice among categories, independent in each action dimension."""

    action_spaces: ClassVar[tuple[type[Space], ...]] = CATEGORICAL

    hidden_sizes: Annotated[tuple[int, ...], at_least(1)] = (100, 100)
    """Units of the policy's hidden layers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Nonlinearity of the policy."""
    head_scale: Annotated[float, POSITIVE] = 1.0
    """Factor of the initial weights of the last layer; 0.01 starts every task from nearly equal probabilities."""

    def build(self, observation_space: Space, action_space: Space) -> Model:
        """Make the policy; see `Policy.build`."""
        self.require_fit(action_space)
        counts = categories(action_space) or ()
        sizes = (observation_size(observation_space), *self.hidden_sizes, sum(counts))
        logits = mlp(sizes, self.activation, head_scale=self.head_scale)
        return categorical(logits, counts)
