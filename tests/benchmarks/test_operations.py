"""Events of the profiler are told apart: operations by their kinds, and what calls them."""

import subprocess
import sys

import pytest
from scripts import script


@pytest.fixture(scope="module")
def operations(root):
    with script(root / "tools" / "benchmarks" / "operations.py") as module:
        yield module


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("while/a/BiasAdd_20:_MklNativeFusedConv2D", "convolutions, forward and backward"),
        ("Conv2DBackpropFilter_6:_MklNativeConv2DBackpropFilterWithBias", "kernel gradients"),
        ("x/Conv2D_1:Conv2DBackpropInput", "convolutions, forward and backward"),
        ("d:DepthwiseConv2dNativeBackpropFilter", "kernel gradients"),
        ("d:DepthwiseConv2dNativeBackpropInput", "depthwise convolutions"),
        ("dense/MatMul:_MklNativeFusedMatMul", "matrix products"),
        ("bn:FusedBatchNormGradV3", "batch norm"),
        ("a/Sum_3:Sum", "sums over axes"),
        ("mul_3:Mul", "Mul"),
        ("while/z:StatelessRandomNormalV2", "random numbers"),
        ("CpuExecutable::ExecuteAsyncOnStream", "pointwise chains and sums, by XLA"),
        ("cluster_1_1/xla_run:_XlaRun", None),
        ("ExecutorState::Process", None),
        ("EagerLocalExecute: OptionalHasValue", None),
        ("multiply_multiply_fusion.1", None),
    ],
)
def test_kinds_of_events(operations, event, kind):
    assert operations.kind_of(event) == kind


@pytest.mark.slow
def test_a_preset_is_profiled(root):
    """Of what `sample` runs, convolutions and random numbers are seen."""
    argv = ["preset:nvae_mnist", "--steps=1", "--num_images=2"]
    program = root / "tools" / "benchmarks" / "operations.py"
    ran = subprocess.run([sys.executable, program, *argv], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("preset:nvae_mnist: batch 2, float32, 1 thread; a step takes ")
    assert "convolutions, forward and backward" in ran.stdout
    assert "random numbers" in ran.stdout
