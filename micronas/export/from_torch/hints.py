"""What to use instead of an operation that has no operator on the device."""

from collections.abc import Mapping

_NEAREST: Mapping[str, str] = {
    "silu": "use torch.nn.Hardswish",
    "mish": "use torch.nn.Hardswish",
    "gelu": "use torch.nn.ReLU or torch.nn.Hardswish",
    "elu": "use torch.nn.ReLU",
    "selu": "use torch.nn.ReLU",
    "celu": "use torch.nn.ReLU",
    "leaky_relu": "use torch.nn.ReLU",
    "prelu": "use torch.nn.ReLU",
    "softplus": "use torch.nn.ReLU",
    "hardsigmoid": "use torch.nn.Sigmoid",
    "tanh": "use torch.nn.Sigmoid",
    "log_softmax": "leave it out, or use torch.nn.Softmax(dim=1)",
    "conv1d": "use torch.nn.Conv2d with kernel (1, k) on [N, channels, 1, length]",
    "conv3d": "use torch.nn.Conv2d",
    "conv_transpose2d": "use torch.nn.Conv2d",
    "convolution": "use torch.nn.Conv2d",
    "max_pool1d": "use torch.nn.MaxPool2d on [N, channels, 1, length]",
    "avg_pool1d": "use torch.nn.AvgPool2d on [N, channels, 1, length]",
    "layer_norm": "use torch.nn.BatchNorm2d",
    "native_layer_norm": "use torch.nn.BatchNorm2d",
    "group_norm": "use torch.nn.BatchNorm2d",
    "native_group_norm": "use torch.nn.BatchNorm2d",
    "instance_norm": "use torch.nn.BatchNorm2d",
    "native_batch_norm": "use torch.nn.BatchNorm2d in eval mode with running statistics",
    "mul": "fold factors into a convolution or a batch norm",
    "div": "fold factors into a convolution or a batch norm",
    "sub": "fold shifts into a convolution or a batch norm; sums of equal shapes are supported",
    "matmul": "use torch.nn.Linear on [N, features]",
    "mm": "use torch.nn.Linear",
    "bmm": "use torch.nn.Linear on [N, features]",
    "addmm": "use torch.nn.Linear",
    "sum": "use x.mean((2, 3))",
    "amax": "use torch.nn.AdaptiveMaxPool2d(1)",
    "slice": "select channels with a 1x1 convolution",
    "select": "select channels with a 1x1 convolution",
    "split": "select channels with 1x1 convolutions",
    "split_with_sizes": "select channels with 1x1 convolutions",
    "chunk": "select channels with 1x1 convolutions",
    "expand": "sums must have equal shapes",
    "lstm": "use convolutions over time",
    "gru": "use convolutions over time",
    "rrelu": "use torch.nn.ReLU",
    "bernoulli": "pass training=self.training to dropout",
    "native_dropout": "pass training=self.training to dropout",
}
_OTHERWISE = (
    "build it from Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardswish, Sigmoid, Softmax, +, *, "
    "torch.cat, ZeroPad2d, pooling, mean over the map, or flatten"
)


def nearest(operation: str) -> str:
    """Advise on an ATen operation, such as ``aten.silu``."""
    name = operation.split(".")[1].strip("_")
    kin = name.removeprefix("native_"), name.replace("_legit", "").removesuffix("_no_training")
    return next((_NEAREST[key] for key in (name, *kin) if key in _NEAREST), _OTHERWISE)
