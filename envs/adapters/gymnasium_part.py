"""Users' environments as parts: registered ids, and classes and functions that make single environments."""

import ast
import functools
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from metarl.arguments import SECONDS
from metarl.arrays import Array, Mask
from metarl.envs.adapters.conversion import DISCRETE, flat_observation, own_actions
from metarl.envs.adapters.gymnasium_loop import PATIENCE, LoopVectorEnv
from metarl.envs.adapters.turns import Instances
from metarl.envs.adapters.wrappers import remarks_on
from metarl.envs.opengl import prepare
from metarl.parts import MAY_CHANGE, POSITIVE, at_least, values_of
from metarl.rl.contract import check_vector
from metarl.rl.environments import ENVIRONMENTS, Environment, TaskDistribution
from metarl.rl.spaces import environment_actions
from metarl.starting_folder import moves
from metarl.tasks import Split
from metarl.user_code import of_a_stored_run, raised_at_the_call

MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'")  # as Python words it


class OwnTasks(TaskDistribution):
    """The distribution that an environment's method `sample_tasks` draws from.

    Each draw makes an environment and closes it. An environment with held-out tasks has `sample_tasks(rng, n, split)`;
    in others all splits draw from the same tasks. All finite rows count as valid, because only the environment knows
    which tasks it takes. A method `in_distribution(tasks [n, k]) -> [n]` may say which tasks training may draw.
    """

    def __init__(self, names: tuple[str, ...], make: Callable[[], LoopVectorEnv]) -> None:
        self.names = names
        self._make = make

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n rows, [n, k]."""
        with closing(self._make()) as env:
            return env.sample_tasks(rng, n, split)

    def in_distribution(self, tasks: Array) -> Mask:
        """Which rows training may draw, as the environment says; without such a method, all finite rows, [n]."""
        with closing(self._make()) as env:
            own = env.own_method("in_distribution")
            return self.valid(tasks) if own is None else np.asarray(own(tasks), np.bool_) & self.valid(tasks)


@dataclass(frozen=True, kw_only=True)
class OwnEnvironment(Environment):
    """Many of a user's single environment that takes tasks (see LoopVectorEnv).

    The environment's own time limit ends episodes too. Subclasses have the function that makes an environment.
    """

    environment_options: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    """Keyword arguments of the environment. What a text says in Python counts: False, None, 0.5, [1, 2]; another text
    stays text."""
    workers: Annotated[int, at_least(0), MAY_CHANGE] = 0
    """Processes that the environments run in, worth it where a timestep takes about a millisecond or more; 0: in this
    process. The numbers are the same."""
    worker_timeout: Annotated[float, POSITIVE, SECONDS, MAY_CHANGE] = PATIENCE
    """Seconds after which a worker process that does not answer is an error."""
    instances: Annotated[int, at_least(0), MAY_CHANGE] = 0
    """Environments that exist at the same time at most, whose episodes are then played one after another: for a
    simulator of which only one can run, or few fit into memory. 0: as many as there are episodes. The numbers are the
    same, where a reset with a seed leaves nothing of the episode before."""

    shown: ClassVar[str]  # in messages
    maker: ClassVar[Callable[..., gymnasium.Env]]

    def build(
        self, num_envs: int, *, horizon: int, render_mode: str | None = None, task_in_observation: bool = False
    ) -> LoopVectorEnv:
        """Make them; horizons are the sampler's."""
        return self._build(num_envs, self.workers, render_mode, task_in_observation)

    def _build(
        self, num_envs: int, workers: int = 0, render_mode: str | None = None, task_in_observation: bool = False
    ) -> LoopVectorEnv:
        return LoopVectorEnv(
            _Maker(self, render_mode),
            num_envs,
            task_in_observation=task_in_observation,
            workers=workers,
            worker_timeout=self.worker_timeout,
            instances=self._instances or 0,
        )

    @functools.cached_property
    def _instances(self) -> Instances | None:
        """What all vector environments of this part share; None: each has environments of its own."""
        if not self.instances:
            return None
        return Instances(self.instances, workers=self.workers, patience=self.worker_timeout)

    @functools.cached_property
    def tasks(self) -> OwnTasks:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The environment's own distribution."""
        with closing(self._build(1)) as env:
            return OwnTasks(env.task_names, functools.partial(self._build, 1))

    @functools.cached_property
    def own_spaces(self) -> tuple[Space, Space]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The spaces of one environment as its user sees it."""
        with closing(self._build(1)) as env:
            return env.own_spaces

    def spaces(self, *, task_in_observation: bool = False) -> tuple[Space, Space]:
        """The spaces of flattened observations, and of actions: real ones are rescaled to [-1, 1]."""
        with closing(self._build(1, task_in_observation=task_in_observation)) as env:
            return env.single_observation_space, env.single_action_space

    def remarks(self, horizon: int) -> list[str]:
        """Also of the environment's own time limit. Nothing starts worker processes here."""
        at_once = self._instances.at_once if self._instances else 2
        with moves() as moved, closing(self._build(min(2, at_once))) as env:
            remarks = check_vector(env, horizon)
            remarks = remarks_on(env.one(), horizon) + remarks
        return misspelt(self.environment_options) + remarks + moved

    def flat(self, observation: Any) -> NDArray[Any]:
        """Flattened as in training; see `flat_observation`."""
        return flat_observation(self.own_spaces[0], observation)

    def own_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Real actions of [-1, 1] in the environment's bounds; choices as it numbers them."""
        space = self.own_spaces[1]
        return environment_actions(space)(actions) if isinstance(space, DISCRETE) else own_actions(space, actions)


@dataclass(frozen=True, kw_only=True)
class GymnasiumEnvironment(OwnEnvironment):
    """An environment that Gymnasium has registered. Each id has a subclass of its own: see `registered`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """The subclass of an id is found anew where the part is unpickled, also in another process."""
        return _rebuild, (ENVIRONMENTS.name_of(self), gymnasium.spec(self.shown), values_of(self))


@dataclass(frozen=True, kw_only=True)
class AdoptedEnvironment(OwnEnvironment):
    """A class of environments, or a function that makes one, chosen as MODULE:NAME: see `adopted`."""


class _Maker(NamedTuple):
    """Makes one environment of a part; equal makers make the same."""

    part: OwnEnvironment
    render_mode: str | None

    def __call__(self) -> gymnasium.Env:
        return _made(self.part, self.render_mode)


def _made(part: OwnEnvironment, render_mode: str | None) -> gymnasium.Env:
    """One environment of a part. Raises ValueError for what Gymnasium refuses, and for options that it lacks."""
    arguments = {name: in_python(value) for name, value in part.environment_options.items()}
    if lacking := sorted(getattr(type(part).maker, "__abstractmethods__", ())):
        raise ValueError(f"environment {part.shown!r} is abstract: it lacks {', '.join(lacking)}")
    if render_mode is not None:  # an environment whose constructor does not take it need not draw
        arguments["render_mode"] = render_mode
        prepare()
    try:
        return type(part).maker(**arguments)
    except gymnasium.error.Error as error:
        raise ValueError(f"environment {part.shown!r}: {error}") from error
    except TypeError as error:
        takes_none = "takes no arguments" in str(error) and raised_at_the_call(error, __file__)
        for name in reversed(arguments):
            if takes_none or f"unexpected keyword argument '{name}'" in str(error):
                if name == "render_mode":
                    raise ValueError(f"{part.shown} draws nothing: its constructor takes no render_mode") from error
                raise ValueError(f"environment {part.shown!r} has no option {name!r}: {error}") from error
        needed = MISSING.search(str(error))
        if needed and raised_at_the_call(error, __file__):
            advice = f"--environment-options {needed[1]} VALUE"
            raise ValueError(f"environment {part.shown!r} needs the option {needed[1]!r}: {advice}") from error
        raise  # a mistake in the environment itself


@functools.cache
def registered(environment_id: str) -> type[GymnasiumEnvironment] | None:
    """The part of an environment that Gymnasium knows by this id; None: it knows no such."""
    try:
        spec = gymnasium.spec(environment_id)
    except gymnasium.error.Error:
        return None
    maker = staticmethod(functools.partial(gymnasium.make, environment_id))
    namespace = {"shown": environment_id, "maker": maker, "__module__": __name__}
    return type(spec.id, (GymnasiumEnvironment,), namespace)


ENVIRONMENTS.finder(registered)


@ENVIRONMENTS.adopter
def adopted(thing: Any) -> type[Environment] | None:
    """The part of a class of single environments, or of what makes one when it is called; None of anything else."""
    makes = issubclass(thing, gymnasium.Env) if isinstance(thing, type) else callable(thing)
    if not makes:
        return None
    # A partial function is shown as the function that it calls, an object as its class.
    called = thing.func if isinstance(thing, functools.partial) else thing
    name = getattr(called, "__qualname__", type(called).__qualname__)
    namespace = {"shown": f"{called.__module__}:{name}", "maker": staticmethod(thing)}
    named = {**namespace, "__module__": __name__, "__doc__": called.__doc__}
    return type(name.rpartition(".")[2], (AdoptedEnvironment,), named)


def _rebuild(name: str, spec: EnvSpec, values: dict[str, Any]) -> Environment:
    """Make a part in this process; register its id if only the process that pickled it had done so."""
    if ":" not in name and spec.id not in gymnasium.registry:
        gymnasium.registry[spec.id] = spec
    # The part may be of a stored run, whose file has moved.
    with of_a_stored_run(told=True):
        kind: Any = ENVIRONMENTS.find(name)
    return kind(**values)


def misspelt(options: Mapping[str, Any]) -> list[str]:
    """Remarks on options that are texts and look like what Python writes otherwise: `false` counts as true."""
    texts = {name: value for name, value in options.items() if isinstance(value, str)}
    meant = {name: value.strip().capitalize() for name, value in texts.items()}
    return [
        f"the environment option {name} is the text {value!r}, which counts as true: give {meant[name]}, or "
        f"\"'{value}'\" for the text"
        for name, value in texts.items()
        if meant[name] in ("False", "None", "True") and in_python(value) is value
    ]


def in_python(value: Any) -> Any:
    """What a text says in Python; a text that says nothing in it, and any other value, as it is."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):  # no value in Python: text
        return value
