"""A policy for discrete actions: a fully connected network for the logits of the categories."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from gymnasium import Space

from metarl.engine.model import Model, mlp
from metarl.parts import at_least
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

    def build(self, observation_space: Space, action_space: Space) -> Model:
        """Make the policy; see `Policy.build`."""
        self.require_fit(action_space)
        counts = categories(action_space) or ()
        logits = mlp((observation_size(observation_space), *self.hidden_sizes, sum(counts)), self.activation)
        return categorical(logits, counts)
