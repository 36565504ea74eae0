"""The named signatures: inputs, outputs, dynamic batch."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import SIGNATURES, Subject, signatures


@pytest.fixture(scope="module")
def functions(tiny):
    return signatures.Signatures(tiny)


def test_the_names_and_their_order(functions):
    assert tuple(functions) == SIGNATURES


def test_inputs_are_named_and_the_batch_is_open(tiny):
    generate = signatures.input_specs(tiny, "generate")
    assert {k: v.shape.as_list() for k, v in generate.items()} == {
        "z_0": [None, 2, 2, 4],
        "z_1": [None, 4, 4, 4],
        "temperature": [],
    }
    likelihood = signatures.input_specs(tiny, "log_likelihood")
    assert likelihood["images"].shape.as_list() == [None, 8, 8, 1]
    assert likelihood["seeds"].dtype == tf.int32


def test_the_batch_can_be_fixed(tiny):
    specs = signatures.input_specs(tiny, "sample", batch_size=5)
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


def test_sample_holds_no_second_copy_of_the_generator(functions):
    sample = functions["sample"].graph.as_graph_def()
    convolutions = [node for node in sample.node if node.op == "Conv2D"]
    assert not convolutions


def test_questions_repeat_and_follow_the_seed(tiny):
    first, again, other = (Subject(tiny, 3, seed).question("log_likelihood") for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["images"], again["images"])
    assert np.any(first["images"] != other["images"])
    assert first["seeds"].dtype == np.int32
    assert first["images"].min() >= 0
    assert first["images"].max() <= 1
    np.testing.assert_allclose(np.round(first["images"] * 255) / 255, first["images"], atol=1e-6)


def test_an_unknown_signature_is_named(tiny):
    with pytest.raises(ExportError, match=r"'imagine'.*generate, sample"):
        signatures.input_specs(tiny, "imagine")


def test_a_noise_name_must_be_an_argument_name(tiny):
    class Slashed:
        image_shape = tiny.image_shape

        def noise_spec(self):
            return {"group/0": tiny.noise_spec()["z_0"]}

    with pytest.raises(ExportError, match=r"'group/0'.*letters, digits and underscores"):
        signatures.input_specs(Slashed(), "generate")


def test_an_example_has_an_image(tiny):
    with pytest.raises(ExportError, match="num_images is 0"):
        Subject(tiny, 0)


def test_custom_gradients_are_forgotten(tiny):
    @tf.custom_gradient
    def identity(x):
        return tf.identity(x), lambda dy: dy

    class Custom(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return identity(super().generate(noise, temperature))

    graph = signatures.Signatures(Custom())["generate"].graph
    assert not [op for op in graph.get_operations() if "_gradient_op_type" in op.node_def.attr]


def test_plain_names():
    assert signatures.plain_name("group/1:z") == "group_1_z"
