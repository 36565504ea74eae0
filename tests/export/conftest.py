"""A generator small enough to export in a second, with every kind of op an NVAE decoder has."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.generative import Generator, NoiseSpec


class TinyGenerator(Generator, tf.Module):
    """Two latent groups, 2x2x4 and 4x4x4, and 8x8x1 images; deterministic weights."""

    image_shape = (8, 8, 1)
    latent_dims = 2 * 2 * 4 + 4 * 4 * 4

    def __init__(self, width: int = 8):
        super().__init__()
        rng = np.random.default_rng(7)

        def kernel(*shape):
            scale = 1 / np.sqrt(np.prod(shape[:-1]))
            return tf.Variable(rng.normal(scale=scale, size=shape).astype(np.float32))

        self.start = kernel(1, 2, 2, width)
        self.combine = [kernel(1, 1, width + 4, width) for _ in range(2)]
        self.expand = kernel(1, 1, width, 3 * width)
        self.depthwise = kernel(5, 5, 3 * width, 1)
        self.shrink = kernel(1, 1, 3 * width, width)
        self.gate = kernel(width, width)
        self.prior = kernel(1, 1, width, 8)
        self.head = kernel(3, 3, width, 1)
        self.posterior = kernel(3, 3, 1, 8)

    def noise_spec(self, num_images=None):
        return {
            "z_0": NoiseSpec((num_images, 2, 2, 4), "normal"),
            "z_1": NoiseSpec((num_images, 4, 4, 4), "normal"),
        }

    def draw_noise(self, seeds):
        def one(seed):
            return {
                name: tf.random.stateless_normal(spec.shape[1:], tf.stack([seed, group]))
                for group, (name, spec) in enumerate(self.noise_spec().items())
            }

        spec = {"z_0": tf.TensorSpec([2, 2, 4]), "z_1": tf.TensorSpec([4, 4, 4])}
        return tf.map_fn(one, seeds, fn_output_signature=spec)

    def _cell(self, x):
        y = tf.nn.silu(tf.nn.conv2d(x, self.expand, 1, "SAME"))
        y = tf.nn.silu(tf.nn.depthwise_conv2d(y, self.depthwise, [1, 1, 1, 1], "SAME"))
        y = tf.nn.conv2d(y, self.shrink, 1, "SAME")
        gate = tf.sigmoid(tf.matmul(tf.reduce_mean(y, [1, 2]), self.gate))
        return x + 0.1 * y * tf.expand_dims(tf.expand_dims(gate, 1), 1)

    def _decode(self, draw):
        """Walks the decoder; `draw(group, mean, scale)` gives each group's latents."""
        z = draw(0, 0.0, 1.01)
        start = tf.tile(self.start, [tf.shape(z)[0], 1, 1, 1])
        x = tf.nn.conv2d(tf.concat([start, z], -1), self.combine[0], 1, "SAME")
        x = tf.raw_ops.ResizeBilinear(images=x, size=[4, 4], align_corners=True)
        x = self._cell(x)
        mean, scale = tf.split(tf.nn.conv2d(tf.nn.elu(x), self.prior, 1, "SAME"), 2, -1)
        z = draw(1, 5 * tf.tanh(mean / 5), tf.exp(5 * tf.tanh(scale / 5)) + 0.01)
        x = tf.nn.conv2d(tf.concat([x, z], -1), self.combine[1], 1, "SAME")
        x = tf.raw_ops.ResizeNearestNeighbor(images=x, size=[8, 8])
        return tf.sigmoid(tf.nn.conv2d(tf.nn.elu(x), self.head, 1, "SAME"))

    def generate(self, noise, temperature=1.0):
        def draw(group, mean, scale):
            return mean + temperature * scale * noise[f"z_{group}"]

        return self._decode(draw)

    def encode(self, images, seeds=None):
        features = tf.nn.conv2d(2 * images - 1, self.posterior, 2, "SAME")
        return {
            "z_0": tf.nn.avg_pool2d(features, 2, 2, "SAME")[..., :4],
            "z_1": features[..., 4:],
        }

    def decode(self, latents):
        return self._decode(lambda group, mean, scale: latents[f"z_{group}"])

    def reconstruct(self, images, seeds=None):
        return self.decode(self.encode(images))

    def negative_elbo(self, images, seeds):
        noise = self.draw_noise(seeds)
        latents = {k: z + 0.5 * noise[k] for k, z in self.encode(images).items()}
        means = self.decode(latents)
        surprise = -tf.math.xlogy(images, means) - tf.math.xlog1py(1 - images, -means)
        kl = tf.add_n([tf.reduce_sum(z**2, [1, 2, 3]) / 2 for z in latents.values()])
        return {"nelbo": kl + tf.reduce_sum(surprise, [1, 2, 3]), "kl": kl}


class WronglyFolded(TinyGenerator):
    """A generator whose serving form is not equal to it."""

    def frozen(self):
        wrong = TinyGenerator()
        wrong.head.assign_add(0.1 * tf.ones_like(wrong.head))
        return wrong


@pytest.fixture(scope="session")
def tiny():
    return TinyGenerator()


@pytest.fixture(scope="session")
def subject(tiny):
    """`tiny` with three examples a question."""
    from tfgen.export import Subject

    return Subject(tiny, num_examples=3)


@pytest.fixture(scope="session")
def wrongly_folded():
    return WronglyFolded()
