"""Advice for operations that have no operator on the device."""

from collections.abc import Mapping

_BY_PLACE = "use slices and indices that are constants; a device cannot go by values"
_AT_RANDOM = "leave it out in eval mode, or pass the random numbers as an input"
_ON_HOST = "compute it before the network, and pass the result as an input"
_ADVICE: Mapping[str, str] = {
    "convolution": "use torch.nn.Conv2d on frames as channels",  # what remains is of volumes
    "trilinear": "use torch.nn.Linear on the products of both inputs",
    "avg_pool3d max_pool3d_with_indices": "pool in two dimensions",
    "batch_norm native_batch_norm": "use torch.nn.BatchNorm2d in eval mode with running statistics",
    "index gather take_along_dim index_put scatter scatter_add nonzero": _BY_PLACE,
    "masked_select unique2 bincount searchsorted": _BY_PLACE,
    "where masked_fill": "fill with a value within 1,000 of zero, such as -16 in front of a "
    "softmax, or with -inf under a constant mask",
    "topk sort argsort kthvalue median mode nanmedian": "return the values and order them where "
    "they are used; the largest alone is max or argmax",
    "cummax cummin cumprod logcumsumexp": "unroll it over its steps with torch.maximum or *; "
    "cumsum has an operator",
    "max_unpool2d fractional_max_pool2d": "use torch.nn.Upsample, or a transposed convolution",
    "grid_sampler_2d affine_grid_generator": "use torch.nn.Upsample",
    "fft_rfft fft_r2c stft fft_c2c": _ON_HOST,
    "linalg_inv_ex linalg_svd linalg_cholesky_ex linalg_solve": _ON_HOST,
    "mean sum max min": "name the dimensions without that of the examples, as in x.mean((1, 2))",
    "embedding_bag": "use torch.nn.Embedding, and mean or sum",
    "rand rand_like randn randn_like multinomial normal": _AT_RANDOM,
    "bernoulli native_dropout": "pass training=self.training to dropout",
    "remainder fmod floor_divide": "use x - floor(x / n) * n with a constant n",
    "lgamma digamma erfinv special_bessel_j0 acos asin tan sinh": "leave it out, or put it "
    "together from exp, log, sqrt, sin, cos, atan and erf",
    "pow": "use exp(y * log(x)) for a computed exponent of values above zero",
    "atan2": "use atan of the quotient where the denominator is above zero",
    "rrelu_with_noise_functional": "use torch.nn.LeakyReLU",
}
_NEAREST = {name: advice for names, advice in _ADVICE.items() for name in names.split()}
_OTHERWISE = (
    "build it from convolutions, Linear, LSTM, GRU, norms, activations, +, -, *, torch.cat, "
    "slices, pooling, means and sums, torch.matmul and reshapes"
)


def nearest(operation: str) -> str:
    """Advise on an ATen operation, such as ``aten.silu``."""
    name = operation.split(".")[1].strip("_")
    kin = name.removeprefix("native_"), name.replace("_legit", "").removesuffix("_no_training")
    return next((_NEAREST[key] for key in (name, *kin) if key in _NEAREST), _OTHERWISE)
