"""The recorded weights of HMoDE under their published names."""

import functools
import json
from pathlib import Path

import numpy as np
import torch

from tests.golden.fill import named_init


@functools.lru_cache(maxsize=1)
def published_weights():
    shapes = json.loads((Path(__file__).parents[1] / "golden" / "hmode_shapes.json").read_text())
    values = named_init(shapes)
    whole = {key for key in shapes if key.endswith("num_batches_tracked")}
    return {
        key: torch.from_numpy(np.asarray(value, np.int64 if key in whole else np.float32))
        for key, value in values.items()
    }
