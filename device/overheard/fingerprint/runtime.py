"""Run int8 networks with the installed TensorFlow Lite runtime. No other module imports a runtime."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.errors import REINSTALL, ModelError
from overheard.process import muted_stderr

RUNTIMES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}  # module: distribution


def available_runtimes() -> dict[str, str]:
    """Return the version of each installed runtime by distribution name, preferred first."""
    versions = {}
    for distribution in RUNTIMES.values():
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _interpreter_class(runtime: str | None) -> Any:
    for module, distribution in RUNTIMES.items():
        if runtime not in (None, distribution):
            continue
        try:
            return importlib.import_module(f"{module}.interpreter").Interpreter
        except ImportError:
            continue
    wanted = runtime or " or ".join(RUNTIMES.values())
    raise ModelError("no TensorFlow Lite runtime is installed", f"pip install {wanted}")


def _int8_tensor(kind: str, tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only tensor of this kind. Raises ModelError if there are others, or it is not int8."""
    problem = ""
    if len(tensors) != 1:
        problem = f"has {len(tensors)} {kind}s instead of one"
    elif tensors[0]["dtype"] is not np.int8:
        problem = f"has an {kind} that is not int8"
    elif not 0 < tensors[0]["quantization"][0] < np.inf:  # as of a tensor that was never quantized
        problem = f"has an {kind} without a scale"
    if problem:
        raise ModelError(f"the network {problem}", "export the model with overheard-export model")
    return tensors[0]


class Network:
    """An int8 network with one input, one output and a batch size of 1.

    Parameters
    ----------
    tflite : contents of a ``.tflite`` file
    n_threads : threads of the runtime
    runtime : distribution name of the runtime; the preferred installed one if None

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        With the batch axis.
    input_scale, input_zero_point, output_scale, output_zero_point : number
        ``real = scale * (int8 - zero_point)``

    Raises
    ------
    ModelError
        If no runtime is installed, or if the file is not an int8 network that the runtime can load.
    """

    def __init__(self, tflite: bytes, n_threads: int = 1, runtime: str | None = None) -> None:
        interpreter_class = _interpreter_class(runtime)
        try:
            with muted_stderr():  # XNNPACK prints a line on creation that no option turns off
                self._interpreter = interpreter_class(model_content=tflite, num_threads=n_threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the runtime cannot load the model's network ({error})", REINSTALL) from error
        self._input = _int8_tensor("input", self._interpreter.get_input_details())
        self._output = _int8_tensor("output", self._interpreter.get_output_details())
        self.input_shape = tuple(int(n) for n in self._input["shape"])
        self.output_shape = tuple(int(n) for n in self._output["shape"])
        self.input_scale, self.input_zero_point = self._input["quantization"]
        self.output_scale, self.output_zero_point = self._output["quantization"]

    def invoke(self, values: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Run the network on an int8 array of ``input_shape``; return a copy of the int8 output."""
        self._interpreter.set_tensor(self._input["index"], values)
        self._interpreter.invoke()
        output: npt.NDArray[np.int8] = self._interpreter.get_tensor(self._output["index"])
        return output
