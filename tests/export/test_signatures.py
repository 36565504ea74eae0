"""The named signatures: inputs, outputs, dynamic batch."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import Subject
from tfgen.export.traces import Traces
from tfgen.serving import Signature, default_signature, plain_name

SIGNATURES = ("generate", "sample", "encode", "reconstruct", "log_likelihood")


@pytest.fixture(scope="module")
def functions(tiny):
    return Traces(tiny)


def test_the_names_and_their_order(functions):
    assert tuple(functions) == SIGNATURES


def test_a_server_asked_for_nothing_by_name_samples(tiny):
    assert default_signature(tiny.signatures()) == "sample"


def test_only_what_draws_nothing_is_portable(tiny):
    portable = {name: s.portable for name, s in tiny.signatures().items() if s.portable}
    assert portable == {"generate": ("litert", "onnx")}


def test_inputs_are_named_and_the_batch_is_open(tiny):
    generate = tiny.signatures()["generate"].inputs
    assert {k: v.shape.as_list() for k, v in generate.items()} == {
        "z_0": [None, 2, 2, 4],
        "z_1": [None, 4, 4, 4],
        "temperature": [],
    }
    likelihood = tiny.signatures()["log_likelihood"].inputs
    assert likelihood["images"].shape.as_list() == [None, 8, 8, 1]
    assert likelihood["seeds"].dtype == tf.int32


def test_the_batch_can_be_fixed(tiny):
    specs = Traces(tiny, batch_size=5)["sample"].structured_input_signature[1]
    assert specs["seeds"].shape.as_list() == [5]
    assert specs["temperature"].shape.as_list() == []


@pytest.mark.parametrize("num_images", [1, 2, 5])
@pytest.mark.parametrize("name", SIGNATURES)
def test_one_trace_serves_every_batch_size(tiny, functions, name, num_images):
    inputs = Subject(tiny, num_images).question(name)
    outputs = functions.run(name, inputs)
    expected = {
        "generate": {"images": (8, 8, 1)},
        "sample": {"images": (8, 8, 1)},
        "encode": {"z_0": (2, 2, 4), "z_1": (4, 4, 4)},
        "reconstruct": {"images": (8, 8, 1)},
        "log_likelihood": {"nelbo": (), "kl": ()},
    }[name]
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        key: (num_images, *shape) for key, shape in expected.items()
    }
    assert all(value.dtype == np.float32 for value in outputs.values())


def test_sample_is_generate_of_the_noise_of_the_seeds(tiny, functions):
    seeds = tf.constant([3, 1, 4], tf.int32)
    sampled = functions["sample"](seeds=seeds, temperature=tf.constant(0.7))["images"]
    generated = tiny.generate(tiny.draw_noise(seeds), 0.7)
    np.testing.assert_allclose(sampled, generated, atol=1e-6)


def test_sample_and_generate_share_one_graph(functions):
    called = [
        {node.attr["f"].func.name for node in functions[name].graph.as_graph_def().node} - {""}
        for name in ("sample", "generate")
    ]
    assert called[1]
    assert called[1] <= called[0]
    nodes = functions["sample"].graph.as_graph_def().node
    assert not [node for node in nodes if node.op == "Conv2D"]


def test_questions_repeat_and_follow_the_seed(tiny):
    first, again, other = (Subject(tiny, 3, seed).question("log_likelihood") for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["images"], again["images"])
    assert np.any(first["images"] != other["images"])
    assert first["seeds"].dtype == np.int32
    assert first["images"].min() >= 0
    assert first["images"].max() <= 1
    np.testing.assert_allclose(np.round(first["images"] * 255) / 255, first["images"], atol=1e-6)


def test_an_unknown_signature_is_named(functions):
    with pytest.raises(ExportError, match=r"'imagine'.*generate, sample"):
        functions["imagine"]


def test_a_noise_name_must_be_an_argument_name(tiny):
    class Slashed(type(tiny)):
        def noise_spec(self, num_images=None):
            return {"group/0": super().noise_spec()["z_0"]}

    with pytest.raises(ExportError, match=r"'group/0'.*letters, digits and underscores"):
        Traces(Slashed())["generate"]


def test_an_example_has_an_image(tiny):
    with pytest.raises(ExportError, match="num_examples is 0"):
        Subject(tiny, 0)


def test_custom_gradients_are_forgotten(tiny):
    @tf.custom_gradient
    def identity(x):
        return tf.identity(x), lambda dy: dy

    class Custom(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return identity(super().generate(noise, temperature))

    graph = Traces(Custom())["generate"].graph
    assert not [op for op in graph.get_operations() if "_gradient_op_type" in op.node_def.attr]


def test_integers_stay_integers():
    class Counting:
        def signatures(self):
            x = {"x": tf.TensorSpec([None], tf.float32)}
            example = lambda n, seed: {"x": np.full(n, seed, np.float32)}  # noqa: E731
            return {"count": Signature(lambda x: {"n": tf.cast(x, tf.int32)}, x, example)}

    subject = Subject(Counting(), 3, seed=2)
    assert subject.answer("count")["n"].tolist() == [2, 2, 2]
    assert subject.answer("count")["n"].dtype == np.int32


def test_plain_names():
    assert plain_name("group/1:z") == "group_1_z"
