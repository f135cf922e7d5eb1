"""Advice for operations that have no operator on the device."""

from collections.abc import Mapping

_NEAREST: Mapping[str, str] = {
    "conv3d": "use torch.nn.Conv2d",
    "batch_norm": "use torch.nn.BatchNorm2d in eval mode with running statistics",
    "native_batch_norm": "use torch.nn.BatchNorm2d in eval mode with running statistics",
    "gru": "use torch.nn.LSTM, which has an operator",
    "rnn_tanh": "use torch.nn.LSTM, which has an operator",
    "index": "use slices with constant bounds, or torch.narrow",
    "gather": "use slices with constant bounds",
    "where": "choose values within 1,000 of zero, such as -16 in front of a softmax",
    "masked_fill": "fill with a value within 1,000 of zero, such as -16 in front of a softmax",
    "embedding": "take one-hot vectors and use torch.nn.Linear",
    "rrelu": "use torch.nn.LeakyReLU",
    "bernoulli": "pass training=self.training to dropout",
    "native_dropout": "pass training=self.training to dropout",
}
_OTHERWISE = (
    "build it from convolutions, Linear, LSTM, norms, activations, +, -, *, torch.cat, slices, "
    "pooling, means and sums, torch.matmul and reshapes"
)


def nearest(operation: str) -> str:
    """Advise on an ATen operation, such as ``aten.silu``."""
    name = operation.split(".")[1].strip("_")
    kin = name.removeprefix("native_"), name.replace("_legit", "").removesuffix("_no_training")
    return next((_NEAREST[key] for key in (name, *kin) if key in _NEAREST), _OTHERWISE)
