r"""LSGM's prior against an equivalent PyTorch model: training step, network evaluation, sampling.

    python tools/benchmarks/lsgm.py --config cpu --threads 2
    python tools/benchmarks/lsgm.py --config cpu --workdir runs/mnist-lsgm

Same networks with the same weights, same batch, float32, same number of threads. PyTorch runs in a
process of its own; both sides take turns, so that whatever else the machine does disturbs both
alike, and medians are compared. PyTorch first tries both memory layouts, then the faster one
through torch.compile (which needs a C++ compiler), in evaluations also with weights that the
compiler may take as constants, and keeps the fastest. Evaluations of tfgen are those of its
sampler, parts of the batch side by side; what PyTorch takes for that is printed beside.

A training step is that of the prior on cached latents: times by importance, noise, the mixed score,
its loss, AdamW. An evaluation is one of the mixed score. Samples are images of the default sampler
(DPM-Solver++ 2M, 20 steps) and of RK45 at the tolerance 1e-5, which takes as many evaluations as
what the prior has learned asks for: here a mixture of clusters in some hundred steps, or with
`--workdir` what that trained LSGM has.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import (
    CLOCKS,
    KEEP_FREED_MEMORY,
    as_the_binaries_do,
    share_cores_as_the_binaries_do,
)
from process import Process, require_torch
from turns import report_each

HERE = Path(__file__).resolve().parent
SIDE_BY_SIDE = "side by side"  # as in lsgm_torch.py
TRAIN, EVALUATE, SAMPLE = "train", "evaluate", "sample"
GOALS = {TRAIN: 1.0, EVALUATE: 1.2, SAMPLE: 5.0}

# Keyword arguments of `ScoreUNet`, and channels of the latents on their 8 x 8 grid: the networks of
# `configs/lsgm/mnist.py:cpu`, of one between, and of `configs/lsgm/mnist.py`.
CONFIGS: dict[str, dict[str, Any]] = {
    "cpu": dict(channels=20, num_channels=64, num_blocks=2, embedding_dims=64, dropout=0.0),
    "middle": dict(channels=20, num_channels=128, num_blocks=4, embedding_dims=128, dropout=0.1),
    "mnist": dict(channels=40, num_channels=256, num_blocks=8, embedding_dims=128, dropout=0.2),
}
ADAMW = dict(learning_rate=3e-4, weight_decay=3e-4, epsilon=1e-4)
MIXING_LOGIT = 0.0
DISTURBANCE = 0.02  # of initial weights, so that the layers that start at zero count as well
RK45 = {"name": "rk45", "rtol": 1e-5, "atol": 1e-5}


def network_options(config: str) -> dict[str, Any]:
    """Keyword arguments of the score network, the same for both sides."""
    options = dict(CONFIGS[config])
    return {"latent_shape": (8, 8, options.pop("channels")), "multipliers": (1, 1), **options}


def clusters(shape, seed: int = 0):
    """Latents of mean square 1 around 16 places, `[N, H, W, C]`: something to learn."""
    import numpy as np

    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((16, *shape[1:]))
    chosen = centres[rng.integers(0, 16, shape[0])]
    return np.float32(0.8 * chosen + 0.6 * rng.standard_normal(shape))


class Ours:
    """The LSGM of a configuration, and what is timed of it.

    Args:
        config: one of `CONFIGS`.
        batch_size: latents a step.
        workdir: folder of a run whose LSGM samples are drawn from; None: the one trained here.
    """

    def __init__(self, config: str, batch_size: int, workdir: str | None = None) -> None:
        import numpy as np
        import tensorflow as tf

        import tfgen
        from tfgen.generative.lsgm import ScoreUNet

        options = network_options(config)
        vae = tfgen.NVAE(
            architecture="res_bnswish",
            num_channels=8,
            num_scales=1,
            num_groups=2,
            latent_channels=options["latent_shape"][-1] // 2,
            encoder_cells=1,
            decoder_cells=1,
            preprocess_cells=1,
            postprocess_cells=1,
        )
        network = ScoreUNet(**options)
        self.model = tfgen.LSGM(vae, network, train_vae=False, mixing_logit=MIXING_LOGIT)
        self.model.compile(tfgen.optimizers.AdamW(**ADAMW))
        self.model.ensure_built()
        rng = np.random.default_rng(0)
        for variable in network.trainable_variables:
            variable.assign_add(DISTURBANCE * rng.standard_normal(variable.shape))
        self.latents = clusters((batch_size, *options["latent_shape"]))
        self._data = tf.data.Dataset.from_tensors({"latents": self.latents}).repeat()
        self._batches, self._evaluate = None, None
        self._workdir = workdir

    def network_state(self) -> dict:
        """Arrays of the score network under the names of published ones."""
        from tfgen.generative.lsgm import official

        found = {}
        for name, (variable, row, order) in official.slots(self.model.network).items():
            array = variable.numpy()[row]
            found[name] = array.transpose([order.index(k) for k in range(array.ndim)]).copy()
        return found

    def train(self) -> float:
        """A step; the first one traces."""
        if self._batches is None:
            fitted = self.model.fit(self._data, steps_per_epoch=1, shuffle=False, verbose=0)
            self._batches = iter(self._data)
            return float(fitted.history["loss"][0])
        return float(self.model.train_function(self._batches)["loss"])

    def evaluate(self):
        """The predictions for the latents, with weights fixed and in parts, as the sampler has
        them."""
        import numpy as np
        import tensorflow as tf

        from tfgen.cores import side_by_side

        if self._evaluate is None:
            frozen, z = self.model.frozen(), tf.constant(self.latents)
            times = tf.constant(np.linspace(0.05, 1.0, len(z)), tf.float32)
            predict = tf.function(
                lambda z, t: frozen.ready().predict(z, t),
                [tf.TensorSpec([None, *x.shape[1:]]) for x in (z, times)],
                autograph=False,
            )
            self._evaluate = functools.partial(
                side_by_side, lambda rows: predict(z[rows], times[rows]).numpy(), len(z)
            )
        return np.concatenate(self._evaluate())

    def samplers(self) -> dict[str, tuple[Callable, float]]:
        """By name, a function that draws a batch of images, and its mean network evaluations."""
        import tensorflow as tf

        model = self.model
        if self._workdir is not None:
            from tfgen.systems import presets

            model = presets.from_preset(self._workdir)
        found = {}
        for name, solver in (("default", None), ("RK45", RK45)):
            model.set_sampler(solver)
            frozen = model.frozen()
            size = len(self.latents)
            run = functools.partial(frozen.sample, size, batch_size=size)
            count = tf.function(frozen.generate_with_count, autograph=False)
            noise = frozen.draw_noise(frozen.seeds_for(size))
            found[name] = run, float(count(noise)[1].numpy().mean())
        model.set_sampler(None)
        return found


def timed(run: Callable[[], Any], count: int, clock: str = "wall") -> list[float]:
    """Seconds of each of `count` calls, by a clock of `machine.CLOCKS`."""
    now, found = CLOCKS[clock], []
    for _ in range(count):
        begin = now()
        run()
        found.append(now() - begin)
    return found


def take_turns(sides: dict[str, Callable], rounds: int, count: int) -> dict[str, float]:
    """Median seconds of a step by name, after one unmeasured turn each."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, seconds in sides.items():
            time.sleep(0.05)  # idle threads of the other side stop spinning
            taken = seconds(count)
            found[name] += taken if turn else []
    return {name: statistics.median(values) for name, values in found.items()}


def peer_of(ours: Ours, config: str, threads: int) -> Process:
    """The PyTorch side, with the weights of ours."""
    return Process(
        HERE / "lsgm_torch.py",
        "Peer",
        network_options(config),
        ours.network_state(),
        ours.latents,
        threads,
        MIXING_LOGIT,
        **ADAMW,
        environment={**KEEP_FREED_MEMORY, "OMP_NUM_THREADS": str(threads)},
    )


def compare(what: str, ours: Callable, peer: Process, arguments) -> dict[str, Any]:
    """Seconds of training steps or evaluations: PyTorch's variants, then its fastest against us."""
    variants, clock = {}, arguments.clock

    def attempt(names):
        for name in names:
            seconds = functools.partial(peer.call, "seconds", what, name, clock=clock)
            variants.update(take_turns({name: seconds}, 2, 3))
        return min(variants, key=variants.get)

    best = attempt(["NCHW", "channels_last"])
    if not arguments.no_compile:
        best = attempt(peer.call("compiled", what, best))
    for name in variants:
        if name != best:
            peer.call("forget", what, name)
    sides = {
        "torch": functools.partial(peer.call, "seconds", what, best, clock=clock),
        "tfgen": functools.partial(timed, ours, clock=clock),
    }
    if what == EVALUATE and arguments.threads > 1:
        in_parts = f"{best.split(', ')[0]}, {SIDE_BY_SIDE}"
        sides[in_parts] = functools.partial(peer.call, "seconds", what, in_parts, clock=clock)
    medians = take_turns(sides, arguments.rounds, arguments.steps)
    ratio = medians["torch"] / medians["tfgen"]
    found = {"variants": variants, "fastest": best, "seconds": medians, "ratio": ratio}
    return {**found, "gflop": peer.call("gflop", what)}


def measure(config: str, arguments) -> dict[str, Any]:
    """Everything of one configuration."""
    import numpy as np

    ours = Ours(config, arguments.batch_size, arguments.workdir)
    with peer_of(ours, config, arguments.threads) as peer:
        deviation = float(np.abs(peer.call("evaluated", "NCHW") - ours.evaluate()).max())
        result = {
            "config": config,
            "batch_size": arguments.batch_size,
            "precision": "float32",
            "threads": arguments.threads,
            "clock": arguments.clock,
            "parameters": ours.model.num_score_parameters,
            "peer": peer.call("version"),
            "largest_deviation": deviation,
            EVALUATE: compare(EVALUATE, ours.evaluate, peer, arguments),
            TRAIN: compare(TRAIN, ours.train, peer, arguments),
        }
    if arguments.samples:
        result[SAMPLE] = compare_samplers(ours, arguments)
    return result


def compare_samplers(ours: Ours, arguments) -> dict[str, Any]:
    """Images per second of the default sampler and of RK45."""
    if arguments.workdir is None:
        timed(ours.train, arguments.learning_steps)
    samplers = ours.samplers()
    sides = {name: functools.partial(timed, run) for name, (run, _) in samplers.items()}
    medians = take_turns(sides, max(1, arguments.rounds // 3), 1)
    return {
        "seconds": medians,
        "images_per_second": {k: arguments.batch_size / v for k, v in medians.items()},
        "evaluations": {name: evaluations for name, (_, evaluations) in samplers.items()},
        "ratio": medians["RK45"] / medians["default"],
    }


def report(result: dict[str, Any]) -> str:
    """A configuration as text."""
    lines = [
        f"{result['config']}: {result['parameters']:,} parameters, batch {result['batch_size']}, "
        f"{result['precision']}, {result['threads']} threads, against {result['peer']}; both "
        f"predict the same to {result['largest_deviation']:.1e}"
    ]
    for what in (TRAIN, EVALUATE):
        found = result[what]
        seconds = found["seconds"]
        lines.append(
            f"  {what:9s} PyTorch {1e3 * seconds['torch']:8.2f} ms ({found['fastest']})  tfgen "
            f"{1e3 * seconds['tfgen']:8.2f} ms  {found['ratio']:.2f}x  (goal {GOALS[what]}x)"
        )
        others = {k: v for k, v in seconds.items() if k not in ("torch", "tfgen")}
        variants = ", ".join(
            f"{k} {1e3 * v:.2f}" for k, v in {**found["variants"], **others}.items()
        )
        lines.append(f"            PyTorch by variant, ms: {variants}")
    if SAMPLE in result:
        found = result[SAMPLE]
        rates = ", ".join(
            f"{name} {rate:.1f} images/s ({found['evaluations'][name]:.0f} evaluations)"
            for name, rate in found["images_per_second"].items()
        )
        lines.append(f"  {SAMPLE:9s} {rates}  {found['ratio']:.1f}x  (goal {GOALS[SAMPLE]}x)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--config", choices=CONFIGS, nargs="+", default=["cpu", "middle"])
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a turn")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side")
    parser.add_argument("--no_compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--samples", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--learning_steps", type=int, default=300, help="before samples are drawn")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu counts the processor's seconds: for one thread on a busy machine",
    )
    parser.add_argument("--workdir", help="of a trained LSGM to draw samples from")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    arguments = parser.parse_args()
    require_torch("lsgm.py")
    share_cores_as_the_binaries_do(arguments.threads, small_operations=True)
    as_the_binaries_do()
    from tfgen.training import keep_freed_memory

    keep_freed_memory()  # both sides have it
    report_each(arguments.config, measure, report, arguments)


if __name__ == "__main__":
    main()
