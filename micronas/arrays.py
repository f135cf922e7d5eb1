"""Types of NumPy arrays that several rooms share."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
