"""The same questions, asked of every system that makes images."""

import numpy as np
import pytest
import register
import tensorflow as tf
from questions import each
from register import SYSTEMS


def images_for(model):
    return register.image_batch(model)["images"]


@each(register.able("generator"))
class TestGenerator:
    def test_graph_equals_eager(self, name):
        model = SYSTEMS[name].make()
        images, seeds = images_for(model), tf.constant([4, 5, 6])
        for ask in (
            lambda: model(images),
            lambda: model.negative_elbo(images, seeds)["nelbo"],
            lambda: model.generate_from_seeds(seeds, 0.7),
        ):
            eager = ask().numpy()
            graph = tf.function(ask, autograph=False)().numpy()
            np.testing.assert_allclose(graph, eager, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_mixed_precision_answers_in_float32(self, name, policy):
        model = SYSTEMS[name].make(dtype=policy)
        images, seeds = images_for(model), tf.constant([4, 5, 6])
        outputs = [
            model(images),
            *model.negative_elbo(images, seeds).values(),
            model.generate_from_seeds(seeds),
            model.frozen().generate_from_seeds(seeds),
        ]
        for value in outputs:
            assert value.dtype == tf.float32
            assert np.all(np.isfinite(value))
        # Pixels reach the likelihood whole: Keras would round them to half at the door.
        plain = SYSTEMS[name].make()
        np.testing.assert_allclose(model(images), plain(images).numpy(), atol=0.05)

    def test_batches_of_any_size(self, name, need_empty_batches):
        model = SYSTEMS[name].make()
        many = images_for(model)
        run = tf.function(
            model.reconstruct,
            input_signature=[tf.TensorSpec((None, *model.image_shape))],
            autograph=False,
        )
        whole = run(many).numpy()
        np.testing.assert_allclose(run(many[1:2]), whole[1:2], rtol=1e-4, atol=1e-5)
        need_empty_batches()
        assert run(many[:0]).shape == (0, *model.image_shape)

    def test_describes_its_images_and_latents(self, name):
        model = SYSTEMS[name].make()
        described = model.describe()
        assert described["image_shape"] == list(model.image_shape)
        assert described["groups"] == len(described["latent_shapes"]) == len(model.groups)
        sizes = [int(np.prod(shape)) for shape in described["latent_shapes"].values()]
        assert described["latent_dims"] == sum(sizes)
        copy = model.frozen().describe()
        assert copy == {key: described[key] for key in copy}
