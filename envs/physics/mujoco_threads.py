"""Batched MuJoCo: n simulations of one model, stepped in one call on a pool of threads, as a pure function of rows.

Axes: n simulations, S state, A actuators. The row of a simulation has what MuJoCo needs to go on bitwise (time, qpos,
qvel, warm start), quantities that were measured *at that state*, and whether the simulation has broken down.
"""

# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.arrays import Array
from metarl.envs.physics.binding import Batch, SimulationError, mujoco
from metarl.envs.physics.columns import CARRIED, ColumnPhysics
from metarl.envs.physics.models import STAGES, body_rows, checked_measured, columns_of, compile_model
from metarl.envs.physics.planar import GEOMETRY, Planar, planar
from metarl.envs.physics.protocol import Contacts
from metarl.operating_system import cores, said_number

STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS

# MuJoCo would write MUJOCO_LOG.TXT to the user's directory, and a line for every breakdown to the console, which
# `MujocoThreads.diverged` reports.
_log = mujoco.MjLogConfig.get()
_log.logto_file = False
_log.logto_console = False
mujoco.MjLogConfig.set(_log)


class MujocoThreads(ColumnPhysics):
    """A model, and a batch of simulations that are scratch space: `start` and `step` depend on their arguments alone.

    Args:
        xml: path of an MJCF file; a name without a folder is a file of Gymnasium's.
        frame_skip: MuJoCo steps per `step`.
        timestep: seconds per MuJoCo step; None: that of the file.
        measured: what the state records at every step: a key of `STAGES`, which is a field of MjData -> the body whose
            row is recorded; None: all bodies, flattened.
        contacts: contacts of every geom; None: those of the file.
        threads: size of the pool; 0: one thread for each core that the process may use, or for its share of them where
            torchrun's ranks (LOCAL_WORLD_SIZE) share a machine. Results are bitwise the same with any number.

    Raises:
        ValueError: there is no such file, MuJoCo does not compile it, a quantity or a body is unknown, or a number is
            too small.
    """

    def __init__(
        self,
        xml: str,
        *,
        frame_skip: int = 1,
        timestep: float | None = None,
        measured: Mapping[str, str | None] | None = None,
        contacts: Contacts | None = None,
        threads: int = 0,
    ) -> None:
        measured = checked_measured(measured, frame_skip)
        if threads < 0:
            raise ValueError(f"threads must be at least 0; got {threads}")
        self._arguments = {
            "frame_skip": frame_skip,
            "timestep": timestep,
            "measured": measured,
            "contacts": contacts,
            "threads": threads,
        }
        self.xml = xml
        self._formula = _formula(xml, measured)
        # What MuJoCo has to evaluate at every new state.
        evaluated = () if self._formula else tuple(measured)
        self.model = compile_model(xml, timestep=timestep, measured=evaluated, contacts=contacts)
        if mujoco.mj_stateSize(self.model, STATE) != 1 + self.model.nq + self.model.nv:
            raise ValueError(f"{xml} has more state than time, positions and velocities (activations, plugins)")
        self.frame_skip = frame_skip
        self.seconds_per_step = frame_skip * self.model.opt.timestep
        share = cores() // max(1, said_number("LOCAL_WORLD_SIZE", 1))
        self._threads = threads or max(1, share)
        self._stage = max((int(STAGES[name]) for name in evaluated), default=int(mujoco.mjtStage.mjSTAGE_NONE))
        self._batch: Batch | None = None
        self._varied: set[str] = set()  # fields of the model that earlier calls have set
        self._measured = body_rows(self.model, xml, measured)
        self._columns = columns_of(self.model, CARRIED, self._measured)
        self._carried = self._columns[CARRIED[-1]].stop  # the first columns are those of the batch's own state

    def start(self, qpos: Array, qvel: Array, parameters: Mapping[str, Array] | None = None) -> Array:
        """States [n, S] at time 0 with given positions [n, nq] and velocities [n, nv], without controls."""
        states = np.zeros((len(qpos), self.state_size))
        self.of(states, "qpos")[:] = qpos
        self.of(states, "qvel")[:] = qvel
        batch, rows = self._load(states, np.zeros((len(states), self.model.nu)), parameters)
        batch.forward(rows, stage=self._stage)
        self._measure(states, parameters or {})
        return states

    def step(self, states: Array, controls: Array, parameters: Mapping[str, Array] | None = None) -> Array:
        """States [n, S] `frame_skip` MuJoCo steps later.

        A simulation that breaks down keeps the state before the step, with `diverged` set. (MuJoCo itself would go on
        from the initial state.)

        Args:
            states: [n, S]; further columns belong to the caller and stay as they are.
            controls: [n, A], held during the step.
            parameters: fields of MjModel that differ between simulations, each [n, ...], such as body_mass.

        Raises:
            ValueError: controls have another shape.
        """
        if controls.shape != (len(states), self.model.nu):
            raise ValueError(f"controls must have shape {(len(states), self.model.nu)}; got {controls.shape}")
        if not len(states):
            return states.copy()
        batch, rows = self._load(states, controls, parameters)
        batch.warning[:] = 0
        failed: Any = []
        try:
            batch.step(rows, nstep=self.frame_skip, stage=self._stage)
        except SimulationError as error:
            # MuJoCo gave up on these simulations; the others have run.
            failed = error.ids
        n = len(states)
        after = states.copy()
        after[:, : self._carried] = batch.state[:n, : self._carried]
        self._measure(after, parameters or {})
        # Any warning counts: a full contact buffer, for instance, makes a simulation wrong too.
        broken = batch.warning[:n, :, 1].any(axis=1)
        broken[failed] = True
        after[broken] = states[broken]
        self.of(after, "diverged")[broken] = 1.0
        return after

    def _load(
        self, states: Array, controls: Array, parameters: Mapping[str, Array] | None
    ) -> tuple[Batch, NDArray[np.int32] | None]:
        """Put simulations into the first rows of the batch; return the batch and these rows (None: all of them)."""
        n = len(states)
        if self._batch is None or n > self._batch.nsim:
            self._batch = Batch(self.model, n, self._threads)
            self._fields = {name: self._batch.bind(name) for name in self._measured}
        batch = self._batch
        batch.state[:n, : self._carried] = states[:, : self._carried]
        batch.bind("ctrl")[:n] = controls
        rows = None if n == batch.nsim else np.arange(n, dtype=np.int32)
        self._set_parameters(batch, rows, n, parameters or {})
        return batch, rows

    def _set_parameters(
        self, batch: Batch, rows: NDArray[np.int32] | None, n: int, parameters: Mapping[str, Array]
    ) -> None:
        """Give the first n simulations these parameters, and reset to the model's own what earlier calls had set."""
        self._varied |= set(parameters)
        changed = False
        for name in sorted(self._varied):
            own = batch.expand(name)[:n]
            values = parameters.get(name, getattr(self.model, name))
            if not np.array_equal(own, np.broadcast_to(values, own.shape)):
                own[:] = values
                changed = True
        if changed:
            batch.set_const(rows)

    def _measure(self, states: Array, parameters: Mapping[str, Array]) -> None:
        """Write what is measured into the states [n, S], at which the batch's simulations are."""
        if self._formula is None:
            for name, bodies in self._measured.items():
                columns = self.of(states, name)
                columns[:] = self._fields[name][: len(states), bodies].reshape(columns.shape)
            return
        if varied := sorted(GEOMETRY & set(parameters)):
            raise ValueError(f"{self.xml} is measured by a formula, for which {varied[0]} must be that of the model")
        qpos, qvel = self.of(states, "qpos"), self.of(states, "qvel")
        place, velocity = self._formula.centre_of_mass(qpos, qvel, parameters.get("body_mass"))
        for name, values in (("subtree_com", place), ("subtree_linvel", velocity)):
            if name in self._measured:
                self.of(states, name)[:] = values


def _formula(xml: str, measured: Mapping[str, str | None]) -> Planar | None:
    """The formula for all that is measured; None where MuJoCo has to evaluate every new state for it."""
    if not measured or not set(measured) <= {"subtree_com", "subtree_linvel"}:
        return None
    model = compile_model(xml)
    bodies = {mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name or "") for name in measured.values()}
    return planar(model, bodies.pop()) if len(bodies) == 1 else None
