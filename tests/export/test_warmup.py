"""The warm-up file is read back with messages built at run time from TF Serving's fields."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from tfgen.export import warmup


@pytest.fixture(scope="module")
def message_class():
    """`PredictionLog`, in a pool of its own beside any installed tensorflow-serving-api."""
    pool = descriptor_pool.DescriptorPool()

    def add(file):
        for dependency in file.dependencies:
            add(dependency)
        pool.AddSerializedFile(file.serialized_pb)

    add(tensor_pb2.DESCRIPTOR)
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto",
        package="serving",
        syntax="proto3",
        dependency=[tensor_pb2.DESCRIPTOR.name],
    )
    field = descriptor_pb2.FieldDescriptorProto

    def type_of(name):
        return (
            {"type": field.TYPE_MESSAGE, "type_name": name} if name else {"type": field.TYPE_STRING}
        )

    def message(parent, name, *fields):
        new = parent.add(name=name)
        for number, (label, key, type_name) in fields:
            new.field.add(name=key, number=number, label=label, **type_of(type_name))
        return new

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    types = file.message_type
    message(types, "ModelSpec", (1, (one, "name", "")), (3, (one, "signature_name", "")))
    request = message(
        types,
        "PredictRequest",
        (1, (one, "model_spec", ".serving.ModelSpec")),
        (2, (many, "inputs", ".serving.PredictRequest.InputsEntry")),
    )
    entry = message(
        request.nested_type,
        "InputsEntry",
        (1, (one, "key", "")),
        (2, (one, "value", ".tensorflow.TensorProto")),
    )
    entry.options.map_entry = True
    message(types, "PredictLog", (1, (one, "request", ".serving.PredictRequest")))
    message(types, "PredictionLog", (6, (one, "predict_log", ".serving.PredictLog")))
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def parse(message_class, record):
    """Model name, signature name and inputs of a serialized `PredictionLog`."""
    request = message_class.FromString(record).predict_log.request
    inputs = {
        key: tf.make_ndarray(tensor_pb2.TensorProto.FromString(value.SerializeToString()))
        for key, value in request.inputs.items()
    }
    return request.model_spec.name, request.model_spec.signature_name, inputs


def test_a_request_parses_back(message_class):
    sent = {
        "images": np.random.default_rng(0).random((3, 9, 7, 2), np.float32),
        "seeds": np.array([1, -2, 3], np.int32),
        "temperature": np.array(0.5, np.float32),
    }
    record = warmup.prediction_log("digits", "sample", sent)
    name, signature, inputs = parse(message_class, record)
    assert (name, signature) == ("digits", "sample")
    assert set(inputs) == set(sent)
    for key, value in sent.items():
        assert inputs[key].dtype == value.dtype
        np.testing.assert_array_equal(inputs[key], value)
    assert message_class.FromString(record).SerializeToString(deterministic=True) == record


def test_the_file_holds_one_record_per_signature(message_class, tmp_path):
    requests = {
        "sample": {"seeds": np.arange(2, dtype=np.int32)},
        "encode": {"images": np.zeros((1, 4, 4, 1), np.float32)},
    }
    path = warmup.write_warmup_requests(str(tmp_path), "digits", requests)
    assert path == str(tmp_path / "assets.extra" / "tf_serving_warmup_requests")
    records = [r.numpy() for r in tf.data.TFRecordDataset(path)]
    assert [parse(message_class, r)[1] for r in records] == ["sample", "encode"]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, b"\0"), (1, b"\x01"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")],
)
def test_varints(value, encoded):
    assert warmup._varint(value) == encoded
