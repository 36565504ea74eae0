"""The peers of search, detection and grounding steps compute what tfgen computes."""

import numpy as np
import pytest
import tensorflow as tf


def after(side, steps):
    """The loss of the batch after some steps."""
    for _ in range(steps):
        side.step()
    return side.loss()


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as found:
        yield found


class TestDetection:
    @pytest.fixture(scope="class")
    def sides(self, in_torch, patch):
        import ood

        # At stride 1 both libraries pad alike, so that training goes the same way.
        spec = {"name": "small_cnn", "widths": (4, 6), "strides": (1, 1)}
        patch.setattr(ood, "CONFIGS", {"tiny": spec})
        patch.setattr(ood, "IMAGE_SHAPE", (8, 8, 3))
        patch.setattr(ood, "SHIFT", 2)
        ours = ood.Ours("tiny", 3)
        pixels = ood.MEAN, ood.STD, ood.SHIFT
        arguments = spec, ours.weights(), ood.random_batch(3), pixels, ood.SGD
        return ours, in_torch("ood_torch.py", "Peer", "channels_last", 1, *arguments)

    def test_losses_before_and_after_steps(self, sides):
        ours, peer = sides
        assert ours.parameters() == peer.call("parameters")
        np.testing.assert_allclose(peer.call("loss"), ours.loss(), rtol=1e-5)
        for _ in range(2):
            peer.call("timed", 1)
        np.testing.assert_allclose(peer.call("loss"), after(ours, 2), rtol=1e-4)
        assert peer.call("gflop") > 0


class TestGrounding:
    @pytest.fixture(scope="class")
    def sides(self, in_torch, patch):
        import grounding

        options = dict(region_dims=6, word_dims=5, dims=4, num_layers=2)
        patch.setattr(grounding, "CONFIGS", {"tiny": options})
        patch.setattr(grounding, "LEARNING_RATE", 0.01)
        ours = grounding.Ours("tiny", 4)
        arguments = options, ours.weights(), grounding.random_batch(options, 4), 0.01
        return ours, in_torch("grounding_torch.py", "Peer", "rows", 1, *arguments)

    def test_losses_before_and_after_steps(self, sides):
        ours, peer = sides
        assert ours.parameters() == peer.call("parameters")
        np.testing.assert_allclose(peer.call("loss"), ours.loss(), rtol=1e-5)
        before = ours.loss()
        peer.call("timed", 3)
        found = after(ours, 3)
        np.testing.assert_allclose(peer.call("loss"), found, rtol=1e-3)
        assert found < before

    def test_averaged_values_are_never_formed(self, sides):
        """No tensor of a step is as large as one of every word with every image's regions in d."""
        ours, _ = sides
        (batch, words, _), regions = ours.batch["words"].shape, ours.batch["regions"].shape[1]
        largest = batch * batch * words * regions
        traced = tf.function(lambda b: ours.model.compute_gradients(b)[1], autograph=False)
        graph = traced.get_concrete_function(ours.model.batch_of(dict(ours.batch))).graph
        sizes = [t.shape.num_elements() or 0 for op in graph.get_operations() for t in op.outputs]
        assert largest in sizes  # the attention itself
        assert max(sizes) == largest


@pytest.mark.slow
class TestSearch:
    @pytest.fixture(scope="class", params=["few", "all"])
    def sides(self, request, in_torch, patch):
        import unas

        few = {"num_operations": 2, "num_nodes": 1} if request.param == "few" else {}
        options = dict(num_channels=2, num_cells=3, **few)
        patch.setattr(unas, "CONFIGS", {"tiny": options})
        patch.setattr(unas, "IMAGE_SHAPE", (8, 8, 3))
        ours = unas.Ours("tiny", 4)
        arguments = (
            unas.supernet_options("tiny"),
            ours.weights(),
            unas.random_batch(4),
            ours.uniforms(),
            {**unas.SEARCH, **unas.PENALTIES},
            unas.RATES,
        )
        return ours, in_torch("unas_torch.py", "Peer", "channels_last", 1, *arguments)

    def test_losses_and_gradients_of_logits(self, sides):
        ours, peer = sides
        assert ours.parameters() == peer.call("parameters")
        np.testing.assert_allclose(peer.call("loss"), ours.loss(), rtol=1e-4)
        expected = ours.estimate()
        found = peer.call("estimate")
        assert found.keys() == expected.keys()
        for key, gradient in expected.items():
            bound = 1e-3 * np.abs(gradient).max() + 1e-6
            np.testing.assert_allclose(found[key], gradient, atol=bound, err_msg=key)

    def test_steps(self, sides):
        _, peer = sides
        before = peer.call("loss")
        peer.call("timed", 2)
        assert np.isfinite(peer.call("loss"))
        assert peer.call("loss") != before
