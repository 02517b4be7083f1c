"""One frozen LiteRT network: verified file in, arrays out; intermediate tensors can be tapped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from openau.weights import store

Float = npt.NDArray[np.float32]
Shape = tuple[int, ...]
T = TypeVar("T")


class Network:
    """A network with one float input. Not to be shared between threads.

    Args:
        asset: name of its file in the weight store.
        threads: threads LiteRT may use.
        taps: shapes, without the batch axis, of intermediate tensors to return as well (see `with_taps`).

    Raises:
        WeightsError: the file cannot be had or does not match its hash.
    """

    def __init__(self, asset: str, threads: int = 1, taps: Sequence[Shape] = ()) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = store.path(asset).read_bytes()
        if taps:
            content = with_taps(content, taps)
        with _silent_stderr():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [d["index"] for d in self._interpreter.get_output_details()]

    def run(self, batch: Float) -> list[Float]:
        """Run once on (1, H, W, C) float32.

        Returns:
            The network's outputs, then the taps, without their batch axis; copies, not LiteRT's own buffers.
        """
        return self.run_and(lambda *outputs: [output.copy() for output in outputs], batch)

    def run_and(self, read: Callable[..., T], batch: Float) -> T:
        """Run once on (1, H, W, C) float32 and read the outputs where they lie: copying large taps takes a fifth of Face Mesh's time.

        Args:
            read: is given the network's outputs, then the taps, without their batch axis; they are LiteRT's own buffers, of which it must
                keep none.
            batch: the input.
        """
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return read(*(self._interpreter.tensor(index)()[0] for index in self._outputs))


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep LiteRT's native note about its CPU delegate off the terminal: no option of its own turns it off."""
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def with_taps(content: bytes, taps: Sequence[Shape]) -> bytes:
    """A copy of a tflite file that also returns intermediate tensors.

    Nothing is computed anew: tensors the network computes anyway are added to the graph's list of outputs.

    Args:
        content: the file's bytes; one graph, batch size 1.
        taps: shapes without the batch axis; of each shape, the last tensor to be computed is returned.

    Raises:
        KeyError: the graph computes no tensor of such a shape.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    graph = model.subgraphs[0]
    last = {tuple(map(int, graph.tensors[o].shape)): o for operator in graph.operators for o in operator.outputs}
    graph.outputs = [*graph.outputs, *(last[1, *shape] for shape in taps)]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
