"""An exported model written by hand: a block counts as many people as the normalised red of its pixels is on average.

Its density is known without any network, and nothing in it needs torch.
"""

import numpy as np

from crowdcount import __version__
from crowdcount.runtimes.description import Description

STRIDE = 8


def describe(**changes):
    """Return the description of the model."""
    settings = {
        "name": "block mean",
        "crowdcount": __version__,
        "weights_sha256": "0" * 64,
        "mean": (0.0, 0.5, 0.5),
        "std": (0.5, 0.25, 0.25),
        "stride": STRIDE,
        "size_divisor": 16,
        "outputs": ("density", "variance", "probabilities"),
        "division": "in one pass",
        "bytes_per_pixel": 100.0,
        "tile_margin": 0,
        "classes": {"intervals": [0, "1+"], "anchors": [0, 1]},
        "origin": {"weights_license": "MIT"},
    }
    return Description(**{**settings, **changes})


def write_onnx(path, metadata=None, **changes):
    """Write the model as an .onnx file and return its path; `changes` are those of the description."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.zeros((1, 3, STRIDE, STRIDE), np.float32)
    weight[0, 0] = 1 / STRIDE**2
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["density"], strides=[STRIDE, STRIDE]),
        helper.make_node("Mul", ["density", "two"], ["variance"]),
        helper.make_node("Neg", ["density"], ["negative"]),
        helper.make_node("Concat", ["negative", "density"], ["scores"], axis=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["images", channels, "rows", "columns"])
        for name, channels in (("density", 1), ("variance", 1), ("probabilities", 2))
    ]
    graph = helper.make_graph(
        nodes,
        "block mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", 3, "height", "width"])],
        outputs,
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.float32(2), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, describe(**changes).metadata() if metadata is None else metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def write_openvino(path, **changes):
    """Write the model as an .xml file with its .bin and return its path."""
    from crowdcount.export.openvino_file import convert_onnx, save_openvino

    onnx_file = write_onnx(path.with_suffix(".onnx"), **changes)
    save_openvino(convert_onnx(onnx_file), path, describe(**changes))
    onnx_file.unlink()
    return path


def expected_density(image):
    """Return the density of an image (H, W, 3) uint8, padded with black: the mean of its red is 0."""
    height, width = image.shape[:2]
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    red = np.zeros((rows * STRIDE, columns * STRIDE))
    red[:height, :width] = image[..., 0] / 255 / 0.5
    return red.reshape(rows, STRIDE, columns, STRIDE).mean(axis=(1, 3))
