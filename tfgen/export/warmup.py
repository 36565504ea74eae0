"""TF Serving's warm-up file: requests that the server replays before it takes the first client.

A TFRecord of `tensorflow.serving.PredictionLog` messages in `assets.extra/` of the version. The
messages around the tensors have length-delimited fields only, so they are written here directly and
tensorflow-serving-api is not needed:

    PredictionLog  { PredictLog predict_log = 6 }
    PredictLog     { PredictRequest request = 1 }
    PredictRequest { ModelSpec model_spec = 1;  map<string, TensorProto> inputs = 2 }
    ModelSpec      { string name = 1;  string signature_name = 3 }
"""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")


def write_warmup_requests(
    directory: str, model_name: str, requests: Mapping[str, Mapping[str, np.ndarray]]
) -> str:
    """Writes one request per signature into a SavedModel directory.

    Args:
        directory: path of the SavedModel (a version directory).
        model_name: string, the name under which it is served.
        requests: dict by signature of dicts of inputs by name.

    Returns:
        The path of the file.
    """
    path = os.path.join(directory, WARMUP_FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests.items():
            writer.write(prediction_log(model_name, signature, inputs))
    return path


def prediction_log(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized `PredictionLog` that asks `signature` of `model_name` with these inputs."""
    model_spec = _field(1, model_name.encode()) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for name in sorted(inputs):
        tensor = tf.make_tensor_proto(inputs[name]).SerializeToString()
        # A map entry is a message of its own: the key is field 1, the value field 2.
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field: its tag (wire type 2), its length, its bytes."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first, the top bit set on all but the last."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
