"""The ONNX graph of a network, and the session that runs it."""
