"""Types of arrays and shapes that several rooms share."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Shape = tuple[int, ...]
