"""The four networks: their sizes, their first loss, and statistics of what counts."""

import numpy as np
import pytest

from tfgen import PhraseGrounding
from tfgen.grounding.projection import Projection


@pytest.mark.parametrize(("layers", "width"), [(1, 0), (2, 1), (3, 2)])
def test_projections_have_the_published_sizes(layers, width):
    projection = Projection(2048, num_layers=layers)
    projection.build()
    want = 2048 * 384 + 384 + width * (2048 * 2048 + 2048 + 2 * 2048)
    assert projection.count_params() == want + width * 2 * 2048
    assert sum(v.shape.num_elements() if hasattr(v.shape, "num_elements") else np.prod(v.shape)
               for v in projection.trainable_variables) == want  # fmt: skip


def test_the_published_model_has_its_parameters_and_first_loss():
    model = PhraseGrounding()
    assert model.describe()["parameters"] == 11_749_376
    assert sum(np.prod(v.shape) for v in model._networks["word_query"].trainable_variables) == (
        887_424
    )
    rng = np.random.default_rng(0)
    batch = {
        "regions": np.maximum(rng.normal(size=(20, 30, 2048)), 0).astype(np.float32),
        "words": rng.normal(size=(20, 6, 768)).astype(np.float32) * 0.6,
    }
    # What the published program starts from at this batch size, log 20 being 2.996.
    assert 2.9 < float(model.training_loss(batch).loss) < 3.3


def test_statistics_are_of_what_the_mask_keeps(rng):
    x = rng.normal(3.0, 2.0, (5, 4, 6)).astype(np.float32)
    mask = (rng.random((5, 4)) < 0.6).astype(np.float32)
    projection = Projection(6, 3, 2)
    projection.build()
    y, (mean, variance) = projection.train(x, mask)
    hidden = projection.hidden[0](x).numpy()[mask > 0].astype(np.float64)
    np.testing.assert_allclose(mean, 0.1 * hidden.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * hidden.var(0, ddof=1), rtol=1e-5)
    # What is not kept moves nothing of what is.
    other = np.where(mask[..., None] > 0, x, 100.0).astype(np.float32)
    np.testing.assert_allclose(
        projection.train(other, mask)[0].numpy()[mask > 0], y.numpy()[mask > 0], atol=1e-5
    )
    # Nothing kept: the running statistics stay.
    _, after = projection.train(x, np.zeros((5, 4), np.float32))
    for value, variable in zip(after, projection.statistics(), strict=True):
        np.testing.assert_array_equal(value, variable)
