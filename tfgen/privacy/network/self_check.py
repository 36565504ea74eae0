"""Whether this machine's TensorFlow differentiates a network as it should.

TensorFlow 2.21 was seen to fail in the kernel gradient of 1x1 convolutions that skip pixels, with
oneDNN and input channels that do not fill its vectors: without AVX-512 the gradient is wrong
wherever they are no multiple of 8; with AVX-512, where oneDNN is TensorFlow's default, 4 and 8
channels damage memory, so that the process ends sooner or later. Nothing can be tried safely, and a
finding that rests on such a gradient is none.
"""

import keras

from tfgen.errors import UserError
from tfgen.privacy.network.forward import layers_of

_VECTOR = 16  # channels that oneDNN takes at once, at most


def check_kernel_gradients(model: keras.Model) -> None:
    """Refuses networks with such a convolution where oneDNN is at work.

    Raises:
        UserError: there is one.
    """
    if not onednn_is_on():
        return
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Conv2D) and _is_suspicious(layer):
            raise UserError(
                f"layer {layer.name!r} is a 1x1 convolution of {layer.kernel.shape[2]} channels "
                f"with strides {tuple(layer.strides)}, whose kernel gradient oneDNN computes "
                "wrongly or not at all; set the environment variable TF_ENABLE_ONEDNN_OPTS=0 and "
                "start again"
            )


def onednn_is_on() -> bool:
    """Whether TensorFlow calls oneDNN for its operations on the CPU."""
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:  # a later TensorFlow, of whose faults nothing is known
        return False
    return bool(_pywrap_util_port.IsMklEnabled())


def _is_suspicious(layer) -> bool:
    plain = tuple(layer.kernel_size) == (1, 1) and max(layer.strides) > 1
    return plain and layer.kernel.shape[2] % _VECTOR != 0
