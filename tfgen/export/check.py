"""Nothing is exported unchecked: the artefact is asked what the Keras model was asked.

Each in its own runtime, on the same noise and images. The difference of an output is

    |artefact - keras| / max(1, |keras|),

absolute for pixels and latents, relative for likelihoods of hundreds of nats; the largest one over
all signatures and elements decides. Where the batch is dynamic, the first example is asked again
alone, so that an artefact which only works at one batch size is caught. Latencies are medians of
interleaved runs after a warm-up, so that a busy machine slows both sides alike.
"""

import contextlib
import dataclasses
import importlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tfgen.errors import ExportError, reason_of
from tfgen.export.subject import Subject
from tfgen.files.replacing import restored
from tfgen.serving import Signature

Outputs = dict[str, np.ndarray]
Runner = Callable[[str, Mapping[str, np.ndarray]], Outputs]

_REPEATS = 5  # timed runs of each side
_WHY_NOT = "it has no kernels for seeded random numbers, nor for most gradients"


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was exported, and how it compares with the Keras model it came from.

    Attributes:
        target: string, the format, such as `"saved_model"` or `"litert float16"`.
        path: path where the artefact lies.
        max_difference: float, the largest difference over all checked outputs (see the module's
            text).
        tolerance: float, the bound that `max_difference` kept.
        mean_difference: float, the mean difference of the output that differs most on average.
        mean_tolerance: float, the bound that `mean_difference` kept.
        latency_ms: float, median milliseconds of the first signature in the artefact's own runtime.
        keras_latency_ms: float, the same for the Keras model, as one graph.
        num_examples: integer, batch size of a timed call.
        size_bytes: integer, bytes on disk.
    """

    target: str
    path: str
    max_difference: float
    tolerance: float
    mean_difference: float
    mean_tolerance: float
    latency_ms: float
    keras_latency_ms: float
    num_examples: int
    size_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.target}: {self.path} ({self.size_bytes / 2**20:.2f} MiB), largest difference "
            f"{self.max_difference:.1e} (tolerance {self.tolerance:.0e}), mean "
            f"{self.mean_difference:.1e} (tolerance {self.mean_tolerance:.0e}), "
            f"{self.num_examples} examples in {self.latency_ms:.1f} ms (Keras "
            f"{self.keras_latency_ms:.1f} ms)"
        )

    def to_dict(self) -> dict:
        """The fields as plain Python values, ready for JSON."""
        return dataclasses.asdict(self)


def verify(
    run: Runner,
    subject: Subject,
    names: Sequence[str],
    tolerance: float,
    *,
    target: str,
    path: str,
    size_bytes: int,
    mean_tolerance: float | None = None,
    dynamic_batch: bool = True,
) -> ExportReport:
    """Compares an artefact with the Keras model and times both.

    Args:
        run: function `run(name, inputs) -> outputs` that answers a signature in the artefact's own
            runtime.
        subject: a `Subject`, the model with its questions and answers.
        names: sequence of the names of the signatures the artefact has.
        tolerance: float, the largest difference allowed.
        target: string, the format, for messages.
        path: path where the artefact will lie, for messages and the report.
        size_bytes: integer, bytes on disk.
        mean_tolerance: float, the mean difference allowed for any output, if smaller; None is
            `tolerance`.
        dynamic_batch: whether to ask for the first example alone as well.

    Raises:
        ExportError: the artefact fails to run, names other outputs, or differs too much.
    """
    bounds = tolerance, tolerance if mean_tolerance is None else mean_tolerance
    largest = mean = 0.0
    for name in names:
        cases = [(subject.question(name), subject.answer(name))]
        if dynamic_batch and subject.num_examples > 1:
            cases.append(tuple(first_example(values) for values in cases[0]))
        for inputs, expected in cases:
            actual = _run_or_refuse(run, name, inputs, target, path)
            for key, difference in differences(expected, actual, f"{target}, {name!r}").items():
                found = float(difference.max()), float(difference.mean())
                _refuse_beyond(found, bounds, f"{target}: output {key!r} of {name!r}", path)
                largest, mean = max(largest, found[0]), max(mean, found[1])
    timed = names[0]
    question = subject.question(timed)
    latency, keras_latency = interleaved_medians(
        lambda: run(timed, question), lambda: subject.keras.run(timed, question)
    )
    return ExportReport(
        target=target,
        path=path,
        max_difference=largest,
        tolerance=tolerance,
        mean_difference=mean,
        mean_tolerance=bounds[1],
        latency_ms=latency,
        keras_latency_ms=keras_latency,
        num_examples=subject.num_examples,
        size_bytes=size_bytes,
    )


def differences(expected: Outputs, actual: Outputs, where: str) -> Outputs:
    """Elementwise |actual - expected| / max(1, |expected|) of every output, float64.

    Raises:
        ExportError: names or shapes do not match. A NaN stays a NaN and fails every tolerance.
    """
    if set(expected) != set(actual):
        raise ExportError(f"{where}: expected outputs {sorted(expected)}, got {sorted(actual)}.")
    result = {}
    for key, value in expected.items():
        if actual[key].shape != value.shape:
            raise ExportError(
                f"{where}: expected {key!r} of shape {value.shape}, got {actual[key].shape}."
            )
        reference = value.astype(np.float64)
        result[key] = np.abs(actual[key] - reference) / np.maximum(1.0, np.abs(reference))
    return result


def first_example(values: Outputs) -> Outputs:
    """The first element of the batch of every array; scalars stay."""
    return {key: value[:1] if np.ndim(value) else value for key, value in values.items()}


def interleaved_medians(*functions: Callable[[], object]) -> list[float]:
    """Median milliseconds of each function, called in turn after one untimed round."""
    for function in functions:
        function()
    times = [[] for _ in functions]
    for _ in range(_REPEATS):
        for function, record in zip(functions, times):
            start = time.perf_counter()
            function()
            record.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(record) for record in times]


@contextlib.contextmanager
def written_beside(path: str, replace) -> Iterator[str]:
    """`replace_file` or `replace_dir`, with a full or read-only disk said in one sentence."""
    try:
        with replace(path) as temporary:
            yield str(temporary)
    except OSError as error:
        raise ExportError(
            f"Cannot write {path} ({error.strerror or error}): "
            "expected a folder that can be written to, with enough free space."
        ) from error


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raises `ExportError` if something lies at `path` and may not be replaced."""
    if os.path.lexists(restored(path)) and not overwrite:
        raise ExportError(
            f"{path} exists already and was left as it is; "
            "choose another path or version, or pass overwrite=True."
        )


def portable_names(
    signatures: Mapping[str, Signature], runtime: str, wanted: Sequence[str] | None = None
) -> list[str]:
    """The signatures that a runtime can hold, all of them or those that are wanted.

    Raises:
        ExportError: there is none, or one that is wanted is not among them.
    """
    portable = [name for name, signature in signatures.items() if runtime in signature.portable]
    missing = [name for name in wanted or () if name not in portable]
    if missing or not portable:
        what = repr(missing[0]) if missing else "any of its signatures"
        asked = (signatures[name] for name in missing or signatures if name in signatures)
        reason = next((s.why_not for s in asked if s.why_not), _WHY_NOT)
        raise ExportError(
            f"{runtime} cannot hold {what} ({reason}); it holds {', '.join(portable) or 'none'} of "
            f"this model, and a SavedModel holds all: {', '.join(signatures)}"
        )
    return list(wanted or portable)


def require(module: str, extra: str):
    """Imports an optional runtime, or says which extra installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExportError(
            f"This export needs {module.partition('.')[0]!r}, which is not installed: "
            f"pip install 'tfgen[{extra}]'."
        ) from error


def size_on_disk(path: str) -> int:
    """Bytes of a file, or of all files below a directory."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )


def _refuse_beyond(found, bounds, what: str, path: str) -> None:
    for kind, value, bound in zip(("", "on average "), found, bounds):
        if not value <= bound:  # a NaN is refused too
            raise ExportError(
                f"{what} differs {kind}from the Keras model by {value:.2g}, more than the "
                f"tolerance {bound:.2g}; nothing was written to {path}. "
                "Pass a larger tolerance only if you can accept that."
            )


def _run_or_refuse(run: Runner, name: str, inputs, target: str, path: str) -> Outputs:
    try:
        return run(name, inputs)
    except ExportError:
        raise
    except Exception as error:  # each runtime has its own exception types
        reason = reason_of(error)
        raise ExportError(
            f"{target}: the artefact does not run {name!r} ({reason}); "
            f"nothing was written to {path}."
        ) from error
