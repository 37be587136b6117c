"""Reads a pickle of nested dictionaries of float32 arrays, and runs nothing of what is in it.

A pickle names functions that the reader calls. Those that numpy writes name three; here each stands for a small
function of this file, and any other name is refused. Numpy itself is not asked: its name for one of them is going.
"""

import io
import math
import pickle
from typing import Any

import numpy as np


class FloatType:
    """Stands for numpy.dtype: 'f4' in the byte order '<' and no other."""

    def __init__(self, code: str, *_: Any):
        if code != "f4":
            raise pickle.UnpicklingError(f"an array of type {code!r}: only float32 is read")
        self.little_endian = False

    def __setstate__(self, state: tuple) -> None:
        self.little_endian = state[1] == "<"


class Array:
    """Stands for numpy.ndarray: takes what an array's pickle says and makes `value` of it."""

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, fortran, raw = state
        if version != 1 or not isinstance(dtype, FloatType) or not dtype.little_endian or fortran is not False:
            raise pickle.UnpicklingError("an array that is not stored as plain rows of little-endian float32")
        if not isinstance(raw, bytes) or len(raw) != 4 * math.prod(shape):
            raise pickle.UnpicklingError(f"an array of shape {shape} with data of another size")
        self.value = np.frombuffer(raw, dtype="<f4").reshape(shape)


def empty_array(*_: Any) -> Array:
    """Stands for numpy.core.multiarray._reconstruct, which makes the array that the state is then given to."""
    return Array()


class ArrayUnpickler(pickle.Unpickler):
    """Knows the three names of a numpy array; any other raises UnpicklingError."""

    STAND_INS = {
        ("numpy.core.multiarray", "_reconstruct"): empty_array,
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): FloatType,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}: only arrays are read")
        return self.STAND_INS[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it points outside of itself: only arrays are read")


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """{"a/b": array} of a pickled {"a": {"b": array}}; the arrays are read only.

    Raises pickle.UnpicklingError for anything else.
    """
    try:
        tree = ArrayUnpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged data make the unpickler raise anything: EOFError, IndexError, TypeError, …
        raise pickle.UnpicklingError(f"it is no pickle of arrays ({type(error).__name__}: {error})") from error
    return flatten(tree)


def flatten(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """The arrays under their names, joined by slashes."""
    if isinstance(tree, Array):
        return {name: tree.value}
    if not isinstance(tree, dict):
        raise pickle.UnpicklingError(f"{name or 'it'} is a {type(tree).__name__}: only dictionaries of arrays are read")
    return {
        key: value
        for part, child in tree.items()
        for key, value in flatten(child, f"{name}/{part}" if name else part).items()
    }
