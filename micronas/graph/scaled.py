"""Constants that are a product: computed at each reading, so that they take no memory."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Array


class Scaled:
    """An array times float64 factors, float32; numpy and its methods read it as an array."""

    dtype = np.dtype(np.float32)

    def __init__(self, given: Array, factors: npt.NDArray[np.float64]) -> None:
        self._given, self._factors = given, factors
        self.shape = given.shape

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[np.float32]:
        found = np.empty(self.shape, np.float32)
        # in float64, without a copy in float64
        np.multiply(self._given, self._factors, out=found, casting="same_kind")
        return found if dtype is None else found.astype(dtype, copy=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # numpy asks for these before it reads the array
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __getitem__(self, index: Any) -> Array:
        return cast(Array, np.asarray(self)[index])

    def __len__(self) -> int:
        return int(self.shape[0])
