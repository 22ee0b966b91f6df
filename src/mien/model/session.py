"""Running a bundle: ONNX Runtime on its graph, then temperature and softmax."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mien.errors import ModelError
from mien.model.bundle import Bundle
from mien.model.graph import INPUT, OUTPUT
from mien.model.preprocess import prepare


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

    def logits(self, images: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
        """Logits, float32 (N, classes), of gray faces, uint8 (N, 48, 48)."""
        parts = [self._run(images[start : start + batch]) for start in range(0, len(images), batch)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.bundle.card.labels)), np.float32)

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._session.run([OUTPUT], {INPUT: prepare(images, self.bundle.card.preprocessing)})[0]  # type: ignore[no-any-return]

    def probabilities(self, images: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float64]:
        """Calibrated probabilities, float64 (N, classes), rows summing to 1, of gray faces, uint8 (N, 48, 48)."""
        return softmax(self.logits(images, batch) / self.bundle.card.calibration.temperature)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = np.asarray(logits, np.float64)
    exponents = np.exp(shifted - shifted.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)  # type: ignore[no-any-return]
