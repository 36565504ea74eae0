"""Targets whose moments are known in closed form, as energies over nested states."""

import numpy as np
import tensorflow as tf


def normal_energy(state):
    """U = |x|^2 / 2 over all leaves."""
    return tf.add_n(
        [
            0.5 * tf.reduce_sum(tf.reshape(x, [tf.shape(x)[0], -1]) ** 2, axis=1)
            for x in tf.nest.flatten(state)
        ]
    )


class LinearVAE:
    """z ~ N(0, 1), x = W z + 0.2 eps_x, E(x) = |x - b|^2: everything about it is Gaussian."""

    W = np.array([[1.0], [0.5]])
    B = np.array([1.0, -0.5])
    SIGMA, A = 0.2, 2.0  # E = A / 2 |x - b|^2

    @classmethod
    def images(cls, noise):
        """x of `{"z": [B, 1], "x": [B, 2]}`."""
        w = tf.constant(cls.W.T, noise["z"].dtype)
        return noise["z"] @ w + cls.SIGMA * noise["x"]

    @classmethod
    def energy(cls, x):
        """`[B, 2]` to `[B]`."""
        return 0.5 * cls.A * tf.reduce_sum((x - tf.constant(cls.B, x.dtype)) ** 2, axis=1)

    @classmethod
    def potential(cls, noise):
        """U over the noise."""
        return cls.energy(cls.images(noise)) + normal_energy(noise)

    @classmethod
    def covariance_of_x(cls):
        return cls.W @ cls.W.T + cls.SIGMA**2 * np.eye(2)

    @classmethod
    def target(cls):
        """Mean and covariance of x under the target, by completing the square in x."""
        precision = np.linalg.inv(cls.covariance_of_x()) + cls.A * np.eye(2)
        covariance = np.linalg.inv(precision)
        return covariance @ (cls.A * cls.B), covariance

    @classmethod
    def log_z(cls):
        s = np.eye(2) + cls.A * cls.covariance_of_x()
        return -0.5 * np.linalg.slogdet(s)[1] - 0.5 * cls.A * cls.B @ np.linalg.solve(s, cls.B)


class ScaleVAE:
    """z ~ N(0, 1), x = exp(z / 2) eps_x, E = x^2 / 2: the decoder's spread depends on z."""

    # Of z under exp(-E) p(z, x), and under the same divided by the spread: numerical quadrature.
    @staticmethod
    def moments(official: bool):
        z, dz = np.linspace(-14.0, 14.0, 280001, retstep=True)
        variance = np.exp(z)
        # Integrating x out: N(x; 0, v) exp(-x^2 / 2) has mass (1 + v)^-1/2, variance v / (1 + v).
        weight = np.exp(-0.5 * z**2) / np.sqrt(1.0 + variance)
        if official:  # noise density divided by sigma = exp(z / 2)
            weight = weight / np.exp(0.5 * z)
        weight /= weight.sum() * dz
        mean = (weight * z).sum() * dz
        second = (weight * variance / (1.0 + variance)).sum() * dz
        return mean, (weight * (z - mean) ** 2).sum() * dz, second

    @staticmethod
    def images(noise):
        return tf.exp(0.5 * noise["z"]) * noise["x"]

    @classmethod
    def potential(cls, noise, official=False):
        energy = 0.5 * tf.reduce_sum(cls.images(noise) ** 2, axis=1) + normal_energy(noise)
        return energy + 0.5 * noise["z"][:, 0] if official else energy


def zeros(num_chains, dtype=tf.float64):
    """A start for the two toy VAEs' noise, without x."""
    return {"z": tf.zeros([num_chains, 1], dtype)}
