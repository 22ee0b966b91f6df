"""Running a bundle: ONNX Runtime on its graph, then temperature and softmax."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mien.errors import ModelError
from mien.model.bundle import Bundle
from mien.model.graph import INPUT, OUTPUTS
from mien.model.preprocess import prepare
from mien.model.spec import Head


class Session:
    """A bundle ready to run on the CPU; safe to use from several threads.

    Args:
        bundle: the model.
        threads: how many threads one call may use; 0 lets ONNX Runtime choose.

    Raises:
        ModelError: where the bundle's graph and weights do not fit.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.bundle = bundle
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(w)) for w in bundle.weights.values()]
        options.add_external_initializers(list(bundle.weights), values)
        # ONNX Runtime raises classes of its own that share no public base but Exception.
        failures = onnxruntime.capi.onnxruntime_pybind11_state
        try:
            self._session = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
        except (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf) as error:
            raise ModelError(f"its graph does not run ({type(error).__name__})", bundle.path) from error

    def logits(self, images: NDArray[np.uint8], batch: int = 256) -> dict[Head, NDArray[np.float32]]:
        """Each head's logits, float32 (N, classes), of gray faces, uint8 (N, 48, 48)."""
        heads = self.bundle.card.heads
        parts = [self._run(images[start : start + batch]) for start in range(0, len(images), batch)]
        empty = [np.empty((0, len(self.bundle.card.labels)), np.float32)]
        return {head: np.concatenate([part[place] for part in parts] or empty) for place, head in enumerate(heads)}

    def _run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        names = [OUTPUTS[head] for head in self.bundle.card.heads]
        return self._session.run(names, {INPUT: prepare(images, self.bundle.card.preprocessing)})  # type: ignore[no-any-return]

    def probabilities(self, images: NDArray[np.uint8], batch: int = 256) -> dict[Head, NDArray[np.float64]]:
        """Each head's calibrated probabilities, float64 (N, classes), of gray faces, uint8 (N, 48, 48).

        Every row sums to 1.
        """
        calibration = self.bundle.card.calibration
        return {head: softmax(rows / calibration.of(head)) for head, rows in self.logits(images, batch).items()}


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = np.asarray(logits, np.float64)
    exponents = np.exp(shifted - shifted.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)  # type: ignore[no-any-return]
