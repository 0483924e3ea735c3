"""Names of torch functions, by the kind of operation that they are."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACTIVATIONS",
    "ALPHA",
    "ASIDE",
    "ATTENTION",
    "DROPOUTS",
    "MIXING",
    "NORMS",
    "PYTHON",
    "RECURRENT",
    "SHAPES",
    "WEIGHTS",
]

ACTIVATIONS: Final = frozenset([
    "celu", "elu", "erf", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid",
    "silu", "sin", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold"
])  # fmt: skip
WEIGHTS: Final = frozenset([
    "linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "matmul", "mm", "bmm", "addmm", "__matmul__", "__rmatmul__", "einsum"
])  # fmt: skip
NORMS: Final = frozenset([
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm",
    "local_response_norm", "sync_batch_norm", "native_layer_norm", "native_group_norm",
    "normalize"
])  # fmt: skip
SHAPES: Final = frozenset([
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "t", "movedim", "contiguous", "clone", "detach", "to", "float", "double", "half",
    "bfloat16", "expand", "expand_as", "repeat", "chunk", "split", "unbind", "__getitem__",
    "select", "narrow", "pad", "roll", "flip", "view_as", "reshape_as", "type", "type_as",
    "__get__", "requires_grad", "moveaxis", "swapaxes", "swapdims", "ravel", "identity",
    "nan_to_num", "tile", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "fold",
    "unfold", "gather", "index_select", "masked_select", "unsafe_chunk", "tensor_split",
    "dropout_off", "positive", "cpu", "cuda", "alias", "split_with_sizes", "upsample",
    "interpolate"
])  # fmt: skip
RECURRENT: Final = frozenset([
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
    "rnn_relu_cell"
])  # fmt: skip
ATTENTION: Final = frozenset([
    "multi_head_attention_forward", "scaled_dot_product_attention", "softmax", "log_softmax",
    "_native_multi_head_attention", "_transformer_encoder_layer_fwd"
])  # fmt: skip
MIXING: Final = frozenset([
    "scatter", "scatter_add", "scatter_reduce", "index_add", "index_reduce", "index_put",
    "segment_reduce", "spmm", "_sparse_mm"
])  # fmt: skip
DROPOUTS: Final = frozenset([
    "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"
])  # fmt: skip
ALPHA: Final = frozenset([
    "alpha_dropout", "feature_alpha_dropout"
])  # fmt: skip
PYTHON: Final = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__rsub__": "sub",
    "__isub__": "sub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
    "__truediv__": "div", "__itruediv__": "div", "__div__": "div", "true_divide": "div",
    "multiply": "mul", "divide": "div", "subtract": "sub", "rsub": "sub", "arctan": "atan",
}  # fmt: skip
# Results that tell of a signal without being one.
ASIDE: Final = frozenset([
    "size", "dim", "numel", "is_floating_point", "stride", "item", "shape", "ndim", "device",
    "dtype", "grad", "grad_fn", "requires_grad_", "retain_grad", "tolist", "all", "any",
    "isnan", "isfinite", "equal", "allclose", "__len__"
])  # fmt: skip
