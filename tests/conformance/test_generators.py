"""The same questions, asked of every system that makes images."""

import numpy as np
import pytest
import register
import tensorflow as tf
from questions import plain_first
from register import SYSTEMS


def images_for(model):
    return register.image_batch(model)["images"]


@pytest.mark.parametrize("name", plain_first(register.able("generator")))
class TestGenerator:
    def test_graph_equals_eager_at_any_batch_size(self, name):
        model = SYSTEMS[name].make()
        many, seeds = images_for(model), tf.constant([4, 5, 6])

        def run_as_graph(ask, *given):
            eager = ask(*given).numpy()
            specs = [tf.TensorSpec([None, *value.shape[1:]], value.dtype) for value in given]
            run = tf.function(ask, input_signature=specs, autograph=False)
            np.testing.assert_allclose(run(*given), eager, rtol=1e-4, atol=1e-4)
            alone = run(*(value[1:2] for value in given))
            np.testing.assert_allclose(alone, eager[1:2], rtol=1e-4, atol=1e-4)
            return eager

        run_as_graph(lambda seeds: model.generate_from_seeds(seeds, 0.7), seeds)
        run_as_graph(lambda *given: model.negative_elbo(*given)["nelbo"], many, seeds)
        images = run_as_graph(model.reconstruct, many)
        answer = model(many)
        if answer.shape == images.shape:
            np.testing.assert_allclose(answer, images, rtol=1e-4, atol=1e-4)
        else:  # it is something else of the system's own
            run_as_graph(model, many)

    def test_an_empty_batch(self, name, need_empty_batches):
        need_empty_batches()
        model = SYSTEMS[name].make()
        spec = tf.TensorSpec((None, *model.image_shape))
        run = tf.function(model.reconstruct, input_signature=[spec], autograph=False)
        assert run(images_for(model)[:0]).shape == (0, *model.image_shape)

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

    def test_describes_its_images_and_latents(self, name):
        model = SYSTEMS[name].make()
        described = model.describe()
        assert described["image_shape"] == list(model.image_shape)
        assert described["groups"] == len(described["latent_shapes"]) == len(model.groups)
        sizes = [int(np.prod(shape)) for shape in described["latent_shapes"].values()]
        assert described["latent_dims"] == sum(sizes)
        copy = model.frozen().describe()
        assert copy == {key: described[key] for key in copy}
