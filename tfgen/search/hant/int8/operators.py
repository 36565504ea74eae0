"""What a LiteRT file is made of: its operators, by the numbers they compute in."""

from collections import Counter
from typing import NamedTuple

import numpy as np

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


class Operators(NamedTuple):
    """Operators of a LiteRT file, counted.

    Attributes:
        counts: dict of what an operator computes in, "int8", "float32", "conversion" (between the
            two) or "other" (such as shapes), to how many there are.
        floats: dict of the names of those in float32 to how many there are.
        input_range: pair of floats, the smallest and the largest number that goes into the first
            operator in int8 unclipped; None where that is in float32.
        output_step: float, the step between two neighbouring outputs; None where the last operator
            is in float32.
    """

    counts: dict[str, int]
    floats: dict[str, int]
    input_range: tuple[float, float] | None
    output_step: float | None


def operators_of(content: bytes) -> Operators:
    """Looks into a LiteRT file.

    Args:
        content: bytes of the file.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    names = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph, counts, floats = model.subgraphs[0], Counter(), Counter()
    first, last = (graph.tensors[ends[0]] for ends in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Files keep numbers up to 127 in an older field.
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        types = {graph.tensors[k].type for k in operator.outputs}
        if name in _CONVERSIONS:
            counts["conversion"] += 1
            if operator.inputs[0] == graph.inputs[0]:
                first = graph.tensors[operator.outputs[0]]
            if operator.outputs[0] == graph.outputs[0]:
                last = graph.tensors[operator.inputs[0]]
        elif types == {schema.TensorType.INT8}:
            counts["int8"] += 1
        elif schema.TensorType.FLOAT32 in types:
            counts["float32"] += 1
            floats[name] += 1
        else:
            counts["other"] += 1
    counts.setdefault("int8", 0)
    counts.setdefault("float32", 0)
    is_int8 = [tensor.type == schema.TensorType.INT8 for tensor in (first, last)]
    return Operators(
        dict(counts),
        dict(floats),
        _range(first) if is_int8[0] else None,
        float(last.quantization.scale[0]) if is_int8[1] else None,
    )


def _range(tensor):
    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    limits = np.iinfo(np.int8)
    return scale * (limits.min - zero), scale * (limits.max - zero)
