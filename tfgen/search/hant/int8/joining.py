"""Two LiteRT files as one, the second behind the first."""

import numpy as np


def joined(first: bytes, second: bytes) -> bytes:
    """A file that computes what the second makes of what comes out of the first.

    Args:
        first: bytes of a LiteRT file of one graph with one output.
        second: bytes of one of one graph whose only input has that output's type and shape.

    Raises:
        ValueError: types or shapes do not fit.
    """
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    one, other = (schema.ModelT.InitFromPackedBuf(content, 0) for content in (first, second))
    front, back = one.subgraphs[0], other.subgraphs[0]
    (end,), (start,) = front.outputs, back.inputs
    ends = [(t.type, list(t.shape)) for t in (front.tensors[end], back.tensors[start])]
    if ends[0] != ends[1]:
        raise ValueError(f"a tensor of type and shape {ends[0]} goes in where {ends[1]} is wanted")

    kept = [number for number in range(len(back.tensors)) if number != start]
    places = {number: len(front.tensors) + place for place, number in enumerate(kept)}
    places |= {int(start): int(end), -1: -1}  # an operator's -1 is an input that it does without

    def moved(numbers):
        if numbers is None:
            return None
        return np.array([places[int(number)] for number in numbers], np.int32)

    for tensor in back.tensors:
        tensor.buffer += len(one.buffers)
    for operator in back.operators:
        operator.opcodeIndex += len(one.operatorCodes)
        for field in ("inputs", "outputs", "intermediates"):
            setattr(operator, field, moved(getattr(operator, field)))
    # Those of the second file say which runtime is new enough for operators in int8.
    one.metadata = other.metadata
    for entry in one.metadata or ():
        entry.buffer += len(one.buffers)
    for here, there in zip(one.signatureDefs or (), other.signatureDefs or ()):
        for entry in there.outputs:
            entry.tensorIndex = places[entry.tensorIndex]
        here.outputs = there.outputs
    one.buffers += other.buffers
    one.operatorCodes += other.operatorCodes
    front.tensors += [back.tensors[number] for number in kept]
    front.operators += back.operators
    front.outputs = moved(back.outputs)
    builder = flatbuffers.Builder(len(first) + len(second))
    builder.Finish(one.Pack(builder), b"TFL3")
    return bytes(builder.Output())
