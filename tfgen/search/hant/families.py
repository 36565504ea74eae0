"""Families of candidates: what can stand where a layer of the network was (LANA's pool).

Every function puts layers behind a tensor. A stride is that of the spatial convolution, and what
comes in is added to what comes out: as it is, or where shapes differ through a strided projection.
"""

from collections.abc import Callable

from keras import layers, ops

NORM = dict(momentum=0.9, epsilon=1e-3)


def conv_norm(
    x, filters: int, kernel: int = 1, stride: int = 1, activation=None, start="ones", *, name: str
):
    """A convolution, batch norm and an activation.

    Args:
        x: `[B, H, W, C]`.
        filters: integer, channels that come out.
        kernel: integer, height and width of the kernel. Defaults to `1`.
        stride: integer. Defaults to `1`.
        activation: string, name of the activation; None has none.
        start: string, initializer of the scales: "ones", or "zeros" at the end of what is added to
            something, which nothing is added to at first. Defaults to `"ones"`.
        name: string, start of the layers' names.
    """
    options = dict(padding="same", use_bias=False, name=f"{name}_conv")
    x = layers.Conv2D(filters, kernel, stride, **options)(x)
    return _normalised(x, activation, name, start)


def depthwise_norm(x, kernel: int, stride: int = 1, activation=None, *, name: str):
    """A depthwise convolution, batch norm and an activation.

    Args:
        x: `[B, H, W, C]`.
        kernel: integer, height and width of the kernel.
        stride: integer. Defaults to `1`.
        activation: string, name of the activation; None has none.
        name: string, start of the layers' names.
    """
    options = dict(padding="same", use_bias=False, name=f"{name}_depthwise")
    return _normalised(layers.DepthwiseConv2D(kernel, stride, **options)(x), activation, name)


def _normalised(x, activation, name, start="ones"):
    x = layers.BatchNormalization(**NORM, gamma_initializer=start, name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def squeeze_excite(x, channels: int, *, name: str):
    """A gate for every channel, of what all places have in common.

    Args:
        x: `[B, H, W, C]`.
        channels: integer, width of the layer inside.
        name: string, start of the layers' names.
    """
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    y = layers.Conv2D(channels, 1, activation="relu", name=f"{name}_reduce")(y)
    y = layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=f"{name}_expand")(y)
    return layers.Multiply(name=f"{name}_gate")([x, y])


def _added(x, y, stride, name):
    """The two added, the first projected where their shapes differ."""
    if x.shape[1:] != y.shape[1:]:
        x = conv_norm(x, y.shape[-1], 1, stride, name=f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])


def _scaled(channels, width) -> int:
    return max(1, round(channels * width))


def mbconv(x, filters, stride, activation, name, expansion=6, kernel=3, squeeze=None):
    """`efn`: expand, depthwise convolution, squeeze-and-excitation, project."""
    y, inner = x, _scaled(x.shape[-1], expansion)
    if expansion != 1:
        y = conv_norm(y, inner, 1, 1, activation, name=f"{name}_expand")
    y = depthwise_norm(y, kernel, stride, activation, name=f"{name}_depthwise")
    if squeeze:
        y = squeeze_excite(y, _scaled(inner, squeeze), name=f"{name}_squeeze")
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_project"), stride, name)


def fused_mbconv(x, filters, stride, activation, name, expansion=6, kernel=3, squeeze=None):
    """`efnv2`: one dense convolution instead of expansion and depthwise convolution."""
    inner = _scaled(x.shape[-1], expansion)
    y = conv_norm(x, inner, kernel, stride, activation, name=f"{name}_expand")
    if squeeze:
        y = squeeze_excite(y, _scaled(inner, squeeze), name=f"{name}_squeeze")
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_project"), stride, name)


def stack(x, filters, stride, activation, name, kernel=3, width=1.0):
    """`cb_stack`: two convolutions in a row."""
    y = conv_norm(x, _scaled(filters, width), kernel, stride, activation, name=f"{name}_first")
    return _added(
        x, conv_norm(y, filters, kernel, start="zeros", name=f"{name}_second"), stride, name
    )


def bottleneck(x, filters, stride, activation, name, kernel=3, width=0.25):
    """`cb_bottle`: a narrow convolution between two pointwise ones."""
    inner = _scaled(filters, width)
    y = conv_norm(x, inner, 1, 1, activation, name=f"{name}_reduce")
    y = conv_norm(y, inner, kernel, stride, activation, name=f"{name}_middle")
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_expand"), stride, name)


def residual(x, filters, stride, activation, name, kernel=3):
    """`cb_res`: one convolution."""
    del activation
    return _added(x, conv_norm(x, filters, kernel, stride, start="zeros", name=name), stride, name)


def shuffled(x, filters, stride, activation, name, kernel=3, width=1.0, groups=2):
    """`conv_cs`: two convolutions in groups, whose channels are shuffled in between."""
    inner = groups * max(1, _scaled(filters, width) // groups)
    y = conv_norm(x, inner, 1, 1, activation, name=f"{name}_first")
    options = dict(padding="same", use_bias=False, groups=groups, name=f"{name}_grouped")
    y = layers.Conv2D(inner, kernel, stride, **options)(y)
    y = layers.BatchNormalization(**NORM, name=f"{name}_grouped_norm")(y)
    grid = y.shape[1:3]
    y = layers.Reshape((*grid, groups, inner // groups), name=f"{name}_split")(y)
    y = layers.Permute((1, 2, 4, 3), name=f"{name}_shuffle")(y)
    y = layers.Reshape((*grid, inner), name=f"{name}_merge")(y)
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_second"), stride, name)


def separable(x, filters, stride, activation, name, kernel=3):
    """`separable`: a depthwise and a pointwise convolution."""
    y = depthwise_norm(x, kernel, stride, activation, name=f"{name}_depthwise")
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_pointwise"), stride, name)


def repvgg(x, filters, stride, activation, name, kernel=3):
    """`repvgg`: a dense, a pointwise and an identity branch, which fold into one convolution."""
    del activation
    branches = [conv_norm(x, filters, k, stride, name=f"{name}_{k}x{k}") for k in (kernel, 1)]
    if branches[0].shape == x.shape:
        branches.append(layers.BatchNormalization(**NORM, name=f"{name}_identity_norm")(x))
    return layers.Add(name=f"{name}_add")(branches)


def transformer(x, filters, stride, activation, name, depth=1, dim=64, heads=4):
    """`vit`: attention among all places, and a multilayer perceptron."""
    del activation
    y = conv_norm(x, dim, 1, stride, name=f"{name}_embed")
    grid = y.shape[1:3]
    y = layers.Reshape((grid[0] * grid[1], dim), name=f"{name}_flatten")(y)
    for number in range(depth):
        own = f"{name}_{number}"
        z = layers.LayerNormalization(epsilon=1e-6, name=f"{own}_attention_norm")(y)
        attention = layers.MultiHeadAttention(heads, max(1, dim // heads), name=f"{own}_attention")
        y = layers.Add(name=f"{own}_attention_add")([y, attention(z, z)])
        z = layers.LayerNormalization(epsilon=1e-6, name=f"{own}_dense_norm")(y)
        z = layers.Dense(2 * dim, "gelu", name=f"{own}_dense1")(z)
        y = layers.Add(name=f"{own}_add")([y, layers.Dense(dim, name=f"{own}_dense2")(z)])
    y = layers.Reshape((*grid, dim), name=f"{name}_unflatten")(y)
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_project"), stride, name)


def bottleneck_transformer(x, filters, stride, activation, name, heads=4, expansion=0.25):
    """`bot_trans`: a bottleneck with attention in the place of its convolution."""
    inner = heads * max(1, _scaled(filters, expansion) // heads)
    y = conv_norm(x, inner, 1, stride, activation, name=f"{name}_reduce")
    grid = y.shape[1:3]
    y = layers.Reshape((grid[0] * grid[1], inner), name=f"{name}_flatten")(y)
    y = layers.MultiHeadAttention(heads, inner // heads, name=f"{name}_attention")(y, y)
    y = layers.Reshape((*grid, inner), name=f"{name}_unflatten")(y)
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_expand"), stride, name)


def lambda_layer(x, channels: int, heads: int, dim: int, scope: int, *, name: str):
    """A lambda layer (LambdaNetworks, arXiv:2102.08602), relative positions by a convolution.

    What is around every place becomes a linear function, which the place's queries are put into:
    of all places together by what is there, of those nearby by where it is.

    Args:
        x: `[B, H, W, C]`.
        channels: integer, channels that come out, a multiple of `heads`.
        heads: integer, queries of a place.
        dim: integer, length of queries and keys.
        scope: integer, odd, height and width of what counts as nearby.
        name: string, start of the layers' names.
    """
    height, width, values = *x.shape[1:3], channels // heads
    queries = conv_norm(x, heads * dim, name=f"{name}_queries")
    queries = layers.Reshape((height, width, heads, dim), name=f"{name}_heads")(queries)
    keys = layers.Conv2D(dim, 1, use_bias=False, name=f"{name}_keys")(x)
    keys = layers.Reshape((height * width, dim), name=f"{name}_flat_keys")(keys)
    keys = layers.Softmax(axis=1, name=f"{name}_normalised_keys")(keys)
    given = conv_norm(x, values, name=f"{name}_values")
    flat = layers.Reshape((height * width, values), name=f"{name}_flat_values")(given)
    content = layers.Dot((1, 1), name=f"{name}_content")([keys, flat])  # [B, dim, values]
    content = layers.Reshape((1, 1, dim, values), name=f"{name}_everywhere")(content)
    volume = layers.Reshape((height, width, values, 1), name=f"{name}_volume")(given)
    options = dict(padding="same", use_bias=False, name=f"{name}_positions")
    nearby = layers.Conv3D(dim, (scope, scope, 1), **options)(volume)  # [B, H, W, values, dim]
    nearby = layers.Permute((1, 2, 4, 3), name=f"{name}_nearby")(nearby)
    lambdas = layers.Add(name=f"{name}_lambdas")([nearby, content])
    y = ops.matmul(queries, lambdas)  # [B, H, W, heads, values]
    return layers.Reshape((height, width, channels), name=f"{name}_merge")(y)


def lambda_bottleneck(
    x, filters, stride, activation, name, expansion=0.25, heads=4, dim=16, scope=7
):
    """`lambda`: a bottleneck with a lambda layer in the place of its convolution."""
    inner = heads * max(1, _scaled(filters, expansion) // heads)
    y = conv_norm(x, inner, 1, stride, activation, name=f"{name}_reduce")
    y = lambda_layer(y, inner, heads, dim, scope, name=name)
    y = layers.BatchNormalization(**NORM, name=f"{name}_norm")(y)
    y = layers.Activation(activation, name=f"{name}_{activation}")(y)
    return _added(x, conv_norm(y, filters, start="zeros", name=f"{name}_expand"), stride, name)


FAMILIES: dict[str, Callable] = {
    "efn": mbconv,
    "efnv2": fused_mbconv,
    "cb_stack": stack,
    "cb_bottle": bottleneck,
    "cb_res": residual,
    "conv_cs": shuffled,
    "separable": separable,
    "repvgg": repvgg,
    "vit": transformer,
    "bot_trans": bottleneck_transformer,
    "lambda": lambda_bottleneck,
}
