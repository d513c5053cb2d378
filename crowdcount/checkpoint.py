"""Reading what torch.save wrote without running any code in it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch


def load_plain(path: Path | str) -> Any:
    """Return the content of a file of torch.save: tensors, plain values and NumPy scalars, nothing else.

    Published checkpoints often hold their best error as a NumPy scalar.

    Raises:
        Exception: the file is missing or damaged, or holds more; torch and pickle have many kinds.
    """
    scalar = np.float64(0).__reduce__()[0]
    # numpy 1 kept the constructor elsewhere
    numbers: list[Any] = [scalar, (scalar, "numpy.core.multiarray.scalar")]
    numbers += [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
    with torch.serialization.safe_globals(numbers):
        return torch.load(path, map_location="cpu", weights_only=True)


def why(error: Exception) -> str:
    """Return the kind of a reading error and its first sentence: torch goes on to propose unsafe loading."""
    first = str(error).split("\n")[0].split(". ")[0]
    return f"{type(error).__name__}: {first}"
