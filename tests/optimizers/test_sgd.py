"""SGD with Nesterov momentum and coupled decay, against float64."""

import keras
import numpy as np

from tfgen.optimizers import SGD


def test_steps_match_float64():
    rng = np.random.default_rng(0)
    kernel, bias = rng.standard_normal((3, 2)), rng.standard_normal(2)
    variables = [keras.Variable(kernel.astype("float32")), keras.Variable(bias.astype("float32"))]
    optimizer = SGD(0.1, weight_decay=0.3)
    optimizer.build(variables)
    velocity = [0.0 * kernel, 0.0 * bias]
    values = [kernel, bias]
    for _ in range(4):
        gradients = [rng.standard_normal(value.shape) for value in values]
        optimizer.apply([g.astype("float32") for g in gradients], variables)
        gradients[0] = gradients[0] + 0.3 * values[0]  # the bias does not decay
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients)]
        # Nesterov's: the gradient as if the next step of the velocity were done.
        values = [x - 0.1 * (g + 0.9 * v) for x, g, v in zip(values, gradients, velocity)]
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)
