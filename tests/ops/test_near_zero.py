"""What stands for expm1, log1p and softplus in exported graphs has their digits everywhere."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.export import export_litert, export_onnx
from tfgen.ops.clusters import portable
from tfgen.ops.diffusion import sde_from_config
from tfgen.ops.near_zero import expm1, log1p, softplus
from tfgen.serving import PORTABLE, Signature

SDES = ("vpsde", "sub_vpsde", "vesde", "geometric_sde")
SMALL = np.logspace(-12, -1, 23)


@pytest.mark.parametrize(
    ("function", "exact", "x"),
    [
        (expm1, np.expm1, np.concatenate([SMALL, -SMALL, [0.0, 0.999, 1.001, -1.0, 20.0, -30.0]])),
        (
            log1p,
            np.log1p,
            np.concatenate([SMALL, -SMALL, [0.0, 0.24, -0.24, 0.5, -0.999, 30.0]]),
        ),
        (softplus, lambda x: np.logaddexp(0.0, x), np.linspace(-20.0, 20.0, 41)),
    ],
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_to_rounding(function, exact, x, dtype):
    with portable():
        found = function(tf.constant(x, dtype)).numpy()
    x = x.astype(dtype.as_numpy_dtype).astype(np.float64)  # as it was asked
    np.testing.assert_allclose(found, exact(x), rtol=8 * np.finfo(dtype.as_numpy_dtype).eps)


class Coefficients:
    """What solvers within a graph compute of times: the exact prediction of a Normal prior, and how
    much noise that leaves."""

    def signatures(self):
        return {"ask": Signature(self.ask, {"t": tf.TensorSpec([None])}, self.times, PORTABLE)}

    def ask(self, t):
        found = {}
        for name in SDES:
            sde = sde_from_config(name)
            found[name] = sde.normal_coefficient(t)
            found[f"{name}_left"] = -expm1(sde.log_noise_share(t))
        return found

    def times(self, batch_size, seed):
        del seed
        return {"t": np.linspace(1e-4, 1.0, batch_size, dtype=np.float32) ** 2}


@pytest.mark.parametrize("export", [export_onnx, export_litert], ids=["onnx", "litert"])
def test_in_other_runtimes(export, tmp_path, monkeypatch):
    found = {}

    def compare(run, subject, names, tolerance, **options):
        found.update(run("ask", subject.question("ask")))
        return found

    monkeypatch.setattr("tfgen.export.check.verify", compare)
    export(Coefficients(), str(tmp_path / "artefact"))
    t = tf.constant(Coefficients().times(4, 0)["t"], tf.float64)
    for name, value in Coefficients().ask(t).items():
        # Near 1 the geometric variance has no more digits in float32, wherever it is computed.
        rtol = 1e-3 if name == "geometric_sde_left" else 3e-5
        np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=name)
