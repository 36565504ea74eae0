"""A program: loads artefacts of one runtime and times them.

    python -P worker.py keras|litert|onnx THREADS

`tfgen.search.latency.process` starts it. Each line of its input is a command in JSON, answered by a
line of JSON; it ends when its input does, and so with whoever started it. Nothing of tfgen is
imported here, and TensorFlow only where it is timed: what else a process does shows in the times.
"""

import gc
import json
import os
import sys
import time

import numpy as np


def main(runtime: str, threads: str) -> None:
    """Answers commands until there are no more."""
    # Libraries print what they like on the standard output; the replies have a line of their own.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(value):
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    try:
        opened = RUNTIMES[runtime](int(threads))
    except Exception as error:
        reply(as_error(error))
        return
    reply({"ready": True})
    gc.disable()
    loaded = {}
    for line in sys.stdin:
        try:
            reply(answer(json.loads(line), opened, loaded))
        except Exception as error:  # a runtime that refuses one artefact can take the next
            reply(as_error(error))


def answer(command: dict, opened, loaded: dict) -> dict:
    """Does what one command says: load an artefact, run a loaded one, or forget all."""
    if command["do"] == "load":
        run = loaded[command["key"]] = opened(command["path"])
        for _ in range(command["warm_up"]):
            run()
        return {"loaded": True}
    if command["do"] == "run":
        return {"nanoseconds": timed(loaded[command["key"]], command["runs"])}
    loaded.clear()
    gc.collect()
    return {"cleared": True}


def timed(run, num_runs: int) -> list[int]:
    """Nanoseconds of every run but a first one, which brings the block's data back near."""
    run()
    clock, times = time.perf_counter_ns, []
    for _ in range(num_runs):
        start = clock()
        run()
        times.append(clock() - start)
    return times


def numbers(shape, dtype) -> np.ndarray:
    """What a block is run on: normal numbers, or small integers."""
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind in "bu" else 100, shape).astype(dtype)


def keras_runtime(threads: int):
    """Opens SavedModels and calls their compiled function."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    asynchronous = bool(tf.config.list_physical_devices("GPU"))

    def opened(path):
        loaded = tf.saved_model.load(path)
        function = loaded.signatures["serving_default"]
        specs = function.structured_input_signature[1]
        inputs = {
            name: tf.constant(numbers(spec.shape.as_list(), spec.dtype.as_numpy_dtype))
            for name, spec in specs.items()
        }

        def run(_holder=loaded):
            function(**inputs)
            if asynchronous:
                tf.test.experimental.sync_devices()

        return run

    return opened


def litert_runtime(threads: int):
    """Opens LiteRT files; only the invocation is timed, not the copies around it."""
    from ai_edge_litert.interpreter import Interpreter

    def opened(path):
        interpreter = Interpreter(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        for entry in interpreter.get_input_details():
            interpreter.set_tensor(entry["index"], numbers(entry["shape"], entry["dtype"]))
        return interpreter.invoke

    return opened


def onnx_runtime(threads: int):
    """Opens ONNX files; inputs and outputs stay where they are."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1

    def opened(path):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for value in session.get_inputs():
            kind = ONNX_TYPES[value.type]
            binding.bind_cpu_input(value.name, numbers(value.shape, kind))
        for value in session.get_outputs():
            binding.bind_output(value.name)
        return lambda: session.run_with_iobinding(binding)

    return opened


ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
RUNTIMES = {"keras": keras_runtime, "litert": litert_runtime, "onnx": onnx_runtime}


def as_error(error: Exception) -> dict:
    """The first line of what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return {"error": f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__}


if __name__ == "__main__":
    main(*sys.argv[1:])
