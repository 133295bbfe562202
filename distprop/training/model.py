"""A trained model and its file: everything that predicting on a new file needs.

The file is safetensors: one tensor a parameter ("dense_1.weight" (inputs, outputs), "dense_1.bias"), one for each fixed
number of a standardise layer ("standardise_1.mean", "standardise_1.deviation", float64), and a JSON object in its
metadata: the layers and the loss, and how a file's columns become features and targets.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distprop.config.layers import Standardise
from distprop.config.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from distprop.config.run import Network
from distprop.config.tree import from_json, to_object
from distprop.data.encoding import Encoding
from distprop.data.fit import fitting_graph
from distprop.errors import CheckpointError, DataError, DistpropError
from distprop.kernels import activations
from distprop.kernels.losses import softmax_rows
from distprop.kernels.memory import zeros
from distprop.network.graph import Graph
from distprop.network.layout import Layout, make_layout
from distprop.network.program import Array, Buffers, compile_program
from distprop.training.tensors import NAMES, load_tensors, save_tensors

FORMAT = "distprop model 1"
FIXED = ("mean", "deviation")  # of each feature that a standardise layer reads
PREDICTION_ROWS = 256


@dataclass(frozen=True)
class Model:
    """A network with numbers in it.

    params (length,): the flat vector. fixed: the numbers of standardise layers, float64, by name.
    """

    network: Network
    encoding: Encoding
    graph: Graph
    layout: Layout
    params: Array
    fixed: Mapping[str, npt.NDArray[np.float64]]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.params.dtype

    def named(self) -> dict[str, Array]:
        """The parameters by name, as views."""
        return self.layout.views(self.params)

    def constants(self) -> dict[str, Array]:
        """What the kernels read for standardise layers, in the model's dtype: mean, and inverse = 1 / deviation."""
        return kernel_constants(self.fixed, self.dtype)

    def digest(self) -> str:
        """SHA-256 over the names, shapes and bytes of all parameters, as 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, array in self.named().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def raw_outputs(self, features: Array) -> Array:
        """The network's outputs (N, O), logits for a cross-entropy, for features (N, *shape) of any number type."""
        expected = self.graph.input_shape
        if features.ndim != 1 + len(expected) or features.shape[1:] != expected:
            raise DataError(
                f"features of shape {features.shape} given, but the model takes (rows, {', '.join(map(str, expected))})"
            )
        rows = features.reshape(len(features), math.prod(expected))
        outputs = np.empty((len(rows), self.graph.outputs), self.dtype)
        buffers, named, constants = Buffers(PREDICTION_ROWS, self.dtype), self.named(), self.constants()
        for first in range(0, len(rows), PREDICTION_ROWS):
            part = rows[first : first + PREDICTION_ROWS]
            program = compile_program(self.graph, named, constants, buffers, len(part))
            program.input[:] = part
            program.run_forward()
            outputs[first : first + len(part)] = program.output
        return outputs

    def outputs(self, features: Array) -> Array:
        """Probabilities (N, O) where the loss is a cross-entropy, else the network's outputs."""
        raw = self.raw_outputs(features)
        loss = self.network.loss
        result = np.empty_like(raw)
        if isinstance(loss, SoftmaxCrossEntropy):
            softmax_rows(result, raw)
        elif isinstance(loss, BinaryCrossEntropy):
            activations.FORWARD["sigmoid"](result.ravel(), raw.ravel())
        else:
            return raw
        return result

    def save(self, path: Path) -> None:
        """Write the model's file whole: a reader finds the old file or the new one."""
        about = {
            "format": FORMAT,
            "dtype": self.dtype.name,
            "network": to_object(self.network),
            "encoding": self.encoding.to_object(),
        }
        tensors = {**self.named(), **self.fixed}
        save_tensors(path, tensors, about)


def kernel_constants(fixed: Mapping[str, npt.NDArray[np.float64]], dtype: npt.DTypeLike) -> dict[str, Array]:
    """Fixed numbers as the kernels read them: "x.mean" stays, "x.deviation" becomes "x.inverse"."""
    constants: dict[str, Array] = {}
    for name, values in fixed.items():
        layer, kind = name.rsplit(".", 1)
        inverse = kind == "deviation"
        with np.errstate(over="ignore", divide="ignore"):
            numbers = (1 / values if inverse else values).astype(dtype)
        if not np.isfinite(numbers).all():
            feature = int(np.argmin(np.isfinite(numbers)))
            what = f"1 / {kind} = 1 / {values[feature]:g}" if inverse else f"the {kind} {values[feature]:g}"
            raise DataError(
                f"{layer}: {what} of feature {feature + 1} is too large for {np.dtype(dtype)}; scale that column"
            )
        constants[f"{layer}.{'inverse' if inverse else kind}"] = numbers
    return constants


def fixed_numbers(graph: Graph, encoding: Encoding) -> dict[str, npt.NDArray[np.float64]]:
    """Mean and deviation (features,) of every standardise layer: those declared, or else the training data's."""
    fixed: dict[str, npt.NDArray[np.float64]] = {}
    statistics = encoding.statistics
    assert statistics is not None
    for node in graph.nodes:
        layer = node.layer
        if not isinstance(layer, Standardise):
            continue
        features = math.prod(node.shape)
        whole = layer.per == "array"
        mean = statistics.array_mean if whole else statistics.mean
        deviation = statistics.array_deviation if whole else statistics.deviation
        given = (mean if layer.mean is None else layer.mean, deviation if layer.deviation is None else layer.deviation)
        for kind, numbers in zip(FIXED, given, strict=True):
            fixed[f"{node.name}.{kind}"] = np.broadcast_to(np.asarray(numbers, np.float64), (features,)).copy()
    return fixed


def make_model(network: Network, encoding: Encoding, dtype: npt.DTypeLike) -> Model:
    """A model for data of this encoding, with all parameters zero. ConfigError if the network doesn't fit the data."""
    graph = fitting_graph(network, encoding)
    layout = make_layout(graph)
    return Model(network, encoding, graph, layout, zeros((layout.length,), dtype), fixed_numbers(graph, encoding))


def load_model(path: Path) -> Model:
    """Read a model's file. Raises CheckpointError if it isn't one or is damaged."""
    about, tensors = load_tensors(path)
    try:
        if about.get("format") != FORMAT:
            raise CheckpointError(f"{path}: not a distprop model")
        network = from_json(Network, json.dumps(about["network"]))
        encoding = Encoding.from_json(json.dumps(about["encoding"]))
        encoding.check()
        graph = fitting_graph(network, encoding)
        layout = make_layout(graph)
        dtype = str(about["dtype"])
        _check_tensors(tensors, graph, layout, dtype)
        params = zeros((layout.length,), dtype)
        for name, view in layout.views(params).items():
            view[...] = tensors.pop(name)
        return Model(network, encoding, graph, layout, params, tensors)
    except (KeyError, ValueError, TypeError, RecursionError, DistpropError) as error:
        if isinstance(error, CheckpointError):
            raise
        problem = "; ".join(str(error).splitlines())
        raise CheckpointError(f"{path}: a damaged model file: {problem}") from None


def _check_tensors(tensors: Mapping[str, Array], graph: Graph, layout: Layout, dtype: str) -> None:
    """ValueError unless they are just the model's, so that nothing larger than they are is made."""
    if dtype not in NAMES:
        raise ValueError(f"numbers of type {dtype}")
    expected = {parameter.name: (parameter.shape, dtype) for parameter in layout.parameters}
    for node in graph.nodes:
        if isinstance(node.layer, Standardise):
            expected |= {f"{node.name}.{kind}": ((math.prod(node.shape),), "float64") for kind in FIXED}
    found = {name: (array.shape, array.dtype.name) for name, array in tensors.items()}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise ValueError(f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'nothing')}")
