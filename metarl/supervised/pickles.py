"""Arrays from pickles that are not trusted: a pickle can run any code, and numpy believes any shape."""

import itertools
import math
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from metarl.reasons import in_one_line

# Errors that pickle and the stand-ins below raise on bad data. Pickle's documentation gives no complete list; 42,000
# damaged pickles raised these or their subclasses. OSError is not one: a file that cannot be read is not damaged.
BAD_DATA = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,  # such as the RecursionError of a container that holds itself
    TypeError,
    ValueError,
)
OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
# Bytes of the number that says how many bytes follow, by pickletools' kinds of arguments.
COUNTS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
INTEGERS = {f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)}


def read_pickle(path: Path) -> Any:
    """Read a pickle of plain values, containers and arrays of integers.

    None of the pickle's code is executed, and numpy gets only bytes whose number fits the shape.

    Raises:
        ValueError: the pickle is damaged, or holds anything else.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            _require_room(file, path.stat().st_size)
            file.seek(0)
            return _plain(_Reader(file, encoding="latin1").load())
        except BAD_DATA as error:
            raise ValueError(f"{path} is damaged or no pickle of integer arrays: {in_one_line(error)}") from error


def _require_room(file: BinaryIO, size: int) -> None:
    """Raise ValueError where a pickle says that it has more bytes, or objects, than a file of `size` bytes can hold.

    The unpickler makes room for as many as a pickle says, which can be 64 GB for a few damaged bytes. What is no pickle
    ends the look at it: the unpickler will say so.
    """
    for opcodes in itertools.count(1):
        opcode = OPCODES.get(file.read(1).decode("latin1"))
        if opcode is None or opcode.name == "STOP":
            return
        if opcode.arg is None:
            continue
        length = opcode.arg.n
        if length == pickletools.UP_TO_NEWLINE:
            argument = file.readline()
            if opcode.name in ("GLOBAL", "INST"):  # a module's name, and a name in it
                file.readline()
        else:
            argument = file.read(COUNTS.get(length, length))
        said = 0
        room = size
        if opcode.name == "PUT":
            said = int(argument)
        elif length in COUNTS or opcode.name in ("FRAME", "BINPUT", "LONG_BINPUT"):
            said = int.from_bytes(argument, "little")
        if opcode.name.endswith("PUT"):
            # Objects are numbered one after the other.
            room = opcodes
        if said > room:
            raise ValueError(f"{opcode.name} {said} where there can be {room}")
        if length in COUNTS:
            file.seek(said, os.SEEK_CUR)


class _Type:
    """Stand-in for numpy.dtype, which keeps its name and byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        if self.name not in INTEGERS or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"arrays must be of integers; got {self.name!r}")
        return np.dtype(self.order.replace("|", "<") + self.name)


class _Array:
    """Stand-in for numpy.ndarray, which keeps what the pickle says of the array."""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.type, self.fortran, self.data = state

    def numpy(self) -> NDArray[Any]:
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if not isinstance(self.type, _Type) or not isinstance(data, bytes | bytearray):
            raise TypeError("an array must have a type and bytes")
        dtype = self.type.numpy()
        shape = tuple(int(size) for size in self.shape)
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} cannot have {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if self.fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: _Type, shape: Any, order: str, *_: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(data)))
    return array


def _scalar(dtype: _Type, data: Any) -> int:
    array = _Array()
    array.__setstate__((1, (), dtype, False, data))
    return int(array.numpy())


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes are written as latin1; got {encoding!r}")
    return text.encode("latin1")


STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,  # how protocol 2 writes bytes
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    """An unpickler that finds the stand-ins and no other object."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """The stand-in for an object that the pickle names. Raises UnpicklingError if there is none."""
        if (module_name, global_name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return STAND_INS[module_name, global_name]


def _plain(value: Any) -> Any:
    """The value with arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        return value.numpy()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
