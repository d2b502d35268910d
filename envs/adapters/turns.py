"""A simulator that cannot run as often as there are episodes: few instances, in which episodes are played in turns.

Axes: n environments, of which m run at once.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from metarl.arguments import require_integers
from metarl.envs.adapters.block import Block, EnvironmentGroup, Notes, Slots, make_environments, one_environment
from metarl.envs.adapters.workers import PATIENCE, Workers
from metarl.rl.vector_results import TERM

MakeEnv = Callable[[], gymnasium.Env]


class Instances:
    """At most so many environments at the same time, shared by vector environments: the last to reset has them.

    They are made when they are first needed, no more than one of these can use, and closed when the last vector
    environment that shares them is closed.

    Args:
        most: how many may exist.
        workers: processes that they run in, while one stays in this process, to draw tasks; 0: all in this process.
        patience: see `Workers`.

    Raises:
        ValueError: none of them.
    """

    def __init__(self, most: int, *, workers: int = 0, patience: float = PATIENCE) -> None:
        require_integers(1, instances=most)
        self.at_once = max(1, most - 1) if workers else most
        self._workers = workers if self.at_once > 1 else 0
        self._patience = patience
        self._users: weakref.WeakSet[InTurns] = weakref.WeakSet()
        self._make_env: MakeEnv | None = None
        self._first: gymnasium.Env | None = None
        self._group: EnvironmentGroup | None = None
        self._holder: InTurns | None = None

    def join(self, user: "InTurns") -> None:
        """Keep the environments open for a user, until it leaves."""
        self._users.add(user)

    def leave(self, user: "InTurns") -> None:
        """Close the environments if nobody else uses them."""
        self._users.discard(user)
        if self._holder is user:
            self._holder = None
        self.close_unused()

    def close_unused(self) -> None:
        """Close the environments if nobody uses them."""
        if not self._users:
            self._close()

    def whichever(self, make_env: MakeEnv) -> gymnasium.Env:
        """One of the instances, to draw tasks; made by `make_env` if there is none."""
        if self._first is None:
            self._first, self._make_env = one_environment(make_env), make_env
        return self._first

    def first(self, make_env: MakeEnv) -> gymnasium.Env:
        """An instance that `make_env` has made. Instances that something else made are closed first."""
        if self._make_env != make_env:
            self._close()
        return self.whichever(make_env)

    def take(self, user: "InTurns", make_env: MakeEnv, slots: Slots) -> tuple[EnvironmentGroup, Slots]:
        """Give all environments to a user, who starts episodes in them; who had them before must reset to go on.

        Args:
            user: who has joined.
            make_env: see `first`.
            slots: arrays of the kinds that are needed.
        """
        first = self.first(make_env)
        count = user.at_once
        if self._group is not None and len(self._slots.rewards) < count:
            self._close()
            first = self.first(make_env)
        if self._group is None:
            arrays: list[Any] = [np.zeros((count, *array.shape[1:]), array.dtype) for array in slots]
            self._slots = Slots(*arrays)
            if self._workers:
                processes = min(self._workers, count)
                self._group = workers = Workers(make_env, self._slots, workers=processes, patience=self._patience)
                self._slots = workers.slots
            else:
                self._group = Block(make_environments(make_env, count, [first]), self._slots)
        self._holder = user
        return self._group, self._slots

    def held(self, user: "InTurns") -> tuple[EnvironmentGroup, Slots]:
        """The environments in which a user's episodes run. Raises ValueError if another user has started others."""
        if self._holder is not user or self._group is None:
            raise ValueError(
                "other environments that share these instances have been reset since: call reset before step"
            )
        return self._group, self._slots

    def _close(self) -> None:
        group = self._group
        first = self._first
        self._group = self._first = self._make_env = self._holder = None
        if group is not None:
            group.close()
        if first is not None and not isinstance(group, Block):  # else it was one of the group's
            first.close()


class InTurns:
    """n environments behind the interface of `Block`, of which those run that were reset last, in shared instances.

    Args:
        instances: where episodes are played.
        make_env: makes one environment.
        slots: where actions and tasks come from, and where the rest goes, of n.
    """

    def __init__(self, instances: Instances, make_env: MakeEnv, slots: Slots) -> None:
        self._instances = instances
        self._make_env = make_env
        self._slots = slots
        self._places: dict[int, int] = {}  # environment -> instance
        self._notes: Notes = {"achieved": np.full(len(slots.rewards), np.nan)}
        instances.join(self)

    @property
    def at_once(self) -> int:
        """m."""
        return min(self._instances.at_once, len(self._slots.rewards))

    def reset(self, which: Sequence[int], seeds: Sequence[int | None]) -> Notes:
        """Start episodes of some environments; what else was running is cut. Raises ValueError for more than m."""
        if len(which) > self.at_once:
            raise ValueError(
                f"{self.at_once} of these {len(self._slots.rewards)} environments can run at once; got a reset of "
                f"{len(which)}: choose them by reset_mask, and play their episodes before those of others"
            )
        slots = self._slots
        group, own = self._instances.take(self, self._make_env, slots)
        self._places = {i: place for place, i in enumerate(which)}
        slots.truncated[~slots.terminated] = True
        slots.truncated[which] = False
        own.tasks[: len(which)] = slots.tasks[which]
        own.terminated[:] = own.truncated[:] = False
        return self._shown(which, own, group.reset(list(self._places.values()), seeds))

    def step(self, which: Sequence[int]) -> Notes:
        """Step; see `EnvironmentGroup.step`. Raises ValueError where other environments took the instances."""
        slots = self._slots
        group, own = self._instances.held(self)
        places = [self._places[i] for i in which]
        own.actions[places] = slots.actions[which]
        for name, values in self._notes.items():
            if name.startswith(TERM):
                values[:] = 0.0
        notes = self._shown(which, own, group.step(places))
        for ours, theirs in zip(slots[3:], own[3:], strict=True):  # rewards, terminated, truncated
            ours[which] = theirs[places]
        return notes

    def render(self) -> list[Any]:
        """What each environment draws; None of those whose episodes do not run."""
        group, _ = self._instances.held(self)
        pictures = group.render()
        return [pictures[self._places[i]] if i in self._places else None for i in range(len(self._slots.rewards))]

    def close(self) -> None:
        """Close the instances, if nobody else uses them."""
        self._instances.leave(self)

    def _shown(self, which: Sequence[int], own: Slots, notes: Notes) -> Notes:
        """Keep what instances show of some environments."""
        places = [self._places[i] for i in which]
        self._slots.observations[which] = own.observations[places]
        for name, values in notes.items():
            kept = self._notes.setdefault(name, np.zeros(len(self._slots.rewards), values.dtype))
            kept[which] = values[places]
        return self._notes
