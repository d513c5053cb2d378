"""The "same" padding of some timm models, for graphs of images of any size."""

from collections.abc import Iterator
from contextlib import contextmanager

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional


@contextmanager
def fixed_padding(module: nn.Module) -> Iterator[None]:
    """Let convolutions with timm's "same" padding pad by a fixed amount inside the block.

    TensorFlow's rule pads by max((ceil(n / s) - 1) s + (k - 1) d + 1 - n, 0) in all, for a side n, stride s, kernel k
    and dilation d. The sides of an exported graph are multiples of the size divisor, so that of every such layer n is a
    multiple of s, and this is max((k - 1) d + 1 - s, 0). Computed from n it gives each layer conditions of the sides,
    which took torch.export minutes to solve.
    """
    swapped = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, Conv2dSame)]
    for name, layer in swapped:
        module.set_submodule(name, _FixedSame(layer))
    try:
        yield
    finally:
        for name, layer in swapped:
            module.set_submodule(name, layer)


class _FixedSame(nn.Module):
    """A convolution with "same" padding for sides that are multiples of its stride."""

    def __init__(self, layer: Conv2dSame) -> None:
        super().__init__()
        self.layer = layer
        totals = [
            max((kernel - 1) * dilation + 1 - stride, 0)
            for kernel, dilation, stride in zip(layer.kernel_size, layer.dilation, layer.stride, strict=True)
        ]
        (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
        self.padding = (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        padded, layer = functional.pad(x, self.padding), self.layer
        return functional.conv2d(padded, layer.weight, layer.bias, layer.stride, (0, 0), layer.dilation, layer.groups)
