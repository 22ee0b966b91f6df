"""The ImageNet weights: finding them, and refusing files that are not them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mien.errors import WeightsError
from mien.models.imagenet import NAME, find_weights, load_imagenet
from mien.models.networks.build import build
from mien.models.networks.mobilenet import MobileNet
from mien.models.spec import CompactSpec, MobileNetSpec

Arrays = dict[str, dict[str, NDArray[np.float32]]]
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def small_network(channels: int = 1) -> MobileNet:
    network = build(MobileNetSpec(cut=1, channels=channels)).eval()  # type: ignore[arg-type]
    assert isinstance(network, MobileNet)
    return network


@pytest.fixture
def arrays() -> Arrays:
    """What Keras' file holds for the stem and the first block, with numbers drawn anew."""
    rng = np.random.default_rng(5)
    kernels = {"conv1": (3, 3, 3, 32), "conv_dw_1": (3, 3, 32, 1), "conv_pw_1": (1, 1, 32, 64)}
    found: Arrays = {}
    for name, shape in kernels.items():
        kind = "depthwise_kernel" if "_dw_" in name else "kernel"
        channels = shape[2] if "_dw_" in name else shape[3]
        found[name] = {kind: rng.normal(size=shape).astype(np.float32)}
        found[f"{name}_bn"] = {part: rng.uniform(0.5, 1.5, channels).astype(np.float32) for part in NORM}
    return found


def write(path: Path, arrays: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for layer, parts in arrays.items():
            group = file.create_group(layer)
            names = [f"{layer}/{part}:0" for part in parts]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, parts.values(), strict=True):
                group[name] = array
    return path


def test_every_array_reaches_its_place(arrays: Arrays, tmp_path: Path) -> None:
    network = small_network(3)
    head = network.head.weight.detach().clone()
    load_imagenet(network, write(tmp_path / "w.h5", arrays))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert np.array_equal(state["features.conv1.weight"][5, 2, 0, 1], arrays["conv1"]["kernel"][0, 1, 2, 5])
    depthwise = arrays["conv_dw_1"]["depthwise_kernel"]
    assert np.array_equal(state["features.conv_dw_1.weight"][7, 0, 2, 1], depthwise[2, 1, 7, 0])
    assert np.array_equal(state["features.conv_pw_1.weight"][63, 31, 0, 0], arrays["conv_pw_1"]["kernel"][0, 0, 31, 63])
    parts = ("weight", "bias", "running_mean", "running_var")
    for layer in ("conv1", "conv_dw_1", "conv_pw_1"):
        for ours, keras in zip(parts, NORM, strict=True):
            assert np.array_equal(state[f"features.{layer}.norm.{ours}"], arrays[f"{layer}_bn"][keras])
    assert torch.equal(network.head.weight, head)


def test_the_gray_kernel_gives_the_same_as_three_equal_channels(arrays: Arrays, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", arrays)
    gray, colour = small_network(1), small_network(3)
    load_imagenet(gray, path)
    load_imagenet(colour, path)
    colour.head.load_state_dict(gray.head.state_dict())
    faces = torch.rand(3, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(gray(faces), colour(faces), rtol=1e-4, atol=1e-4)


def no_bytes(path: Path, arrays: Arrays) -> Path:
    path.write_bytes(b"")
    return path


def text(path: Path, arrays: Arrays) -> Path:
    path.write_text("<html>404</html>")
    return path


def cut_short(path: Path, arrays: Arrays) -> Path:
    write(path, arrays)
    path.write_bytes(path.read_bytes()[:9000])
    return path


def without_layer(path: Path, arrays: Arrays) -> Path:
    del arrays["conv_pw_1_bn"]
    return write(path, arrays)


def without_variance(path: Path, arrays: Arrays) -> Path:
    del arrays["conv1_bn"]["moving_variance"]
    return write(path, arrays)


def without_kernel(path: Path, arrays: Arrays) -> Path:
    del arrays["conv1"]["kernel"]
    return write(path, arrays)


def without_names(path: Path, arrays: Arrays) -> Path:
    with h5py.File(write(path, arrays), "a") as file:
        del file["conv1"].attrs["weight_names"]
    return path


def another_width(path: Path, arrays: Arrays) -> Path:
    arrays["conv_pw_1"]["kernel"] = arrays["conv_pw_1"]["kernel"][..., :16]
    return write(path, arrays)


def flat_kernel(path: Path, arrays: Arrays) -> Path:
    arrays["conv_pw_1"]["kernel"] = arrays["conv_pw_1"]["kernel"].reshape(32, 64)
    return write(path, arrays)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path, arrays: path, "not an HDF5 file"),
        (no_bytes, "not an HDF5 file"),
        (text, "not an HDF5 file"),
        (cut_short, "damaged"),
        (without_layer, "a layer is missing.*conv_pw_1_bn"),
        (without_names, "a layer is missing"),
        (without_variance, "layer conv1 has 4 arrays"),
        (without_kernel, "layer conv1 has 4 arrays"),
        (another_width, r"layer conv_pw_1 has the shape .*16.*expected"),
        (flat_kernel, r"layer conv_pw_1 has the shape \(32, 64\)"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, arrays: Arrays, spoil: Callable[[Path, Arrays], Path], what: str
) -> None:
    path = spoil(tmp_path / "weights.h5", arrays)
    with pytest.raises(WeightsError, match=what) as caught:
        load_imagenet(small_network(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


CONTENT = b"weights, or so"
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves one small file and remembers what was asked."""

    def __init__(self, asked: list[str], *args: object) -> None:
        self.asked = asked
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == f"/{NAME}" else 404)
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args: object) -> None:  # noqa: ARG002 (quiet)
        return


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, with an empty cache and no MIEN_IMAGENET: its address, and the paths asked for."""
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MIEN_IMAGENET", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, asked)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_the_download_is_checked_and_kept(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    path = find_weights(url=f"{address}/{NAME}", md5=MD5)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    assert find_weights(url=f"{address}/{NAME}", md5=MD5) == path
    assert asked == [f"/{NAME}"]


def test_a_download_of_other_bytes_is_refused_and_not_kept(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url = f"{server[0]}/{NAME}"
    with pytest.raises(WeightsError, match=r"could not be fetched.*--weights FILE or MIEN_IMAGENET") as caught:
        find_weights(url=url, md5="0" * 32)
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert find_weights(url=url, md5=MD5).read_bytes() == CONTENT


def test_a_server_without_the_file_or_no_server_is_one_line(server: tuple[str, list[str]]) -> None:
    for url in (f"{server[0]}/elsewhere", "http://127.0.0.1:1/x"):
        with pytest.raises(WeightsError, match="could not be fetched") as caught:
            find_weights(url=url, md5=MD5)
        assert "\n" not in str(caught.value)


def test_the_argument_comes_before_the_environment_before_the_download(
    server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = server
    named, environment = tmp_path / "named.h5", tmp_path / "environment.h5"
    named.touch()
    environment.touch()
    monkeypatch.setenv("MIEN_IMAGENET", str(environment))
    assert find_weights(named, url=f"{address}/{NAME}", md5=MD5) == named
    assert find_weights(None, url=f"{address}/{NAME}", md5=MD5) == environment
    assert asked == []
    for missing in (tmp_path / "missing.h5", tmp_path):
        with pytest.raises(WeightsError, match="no such file of ImageNet weights"):
            find_weights(missing, url=f"{address}/{NAME}", md5=MD5)
    monkeypatch.setenv("MIEN_IMAGENET", str(tmp_path / "gone.h5"))
    with pytest.raises(WeightsError, match=r"gone\.h5: no such file"):
        find_weights(None, url=f"{address}/{NAME}", md5=MD5)


def test_the_compact_network_takes_the_layers_that_it_shares(shared: Path) -> None:
    path = shared / "data" / "mobilenet_1_0_224_tf_no_top.h5"
    compact, whole = build(CompactSpec()), build(MobileNetSpec())
    before = compact.state_dict()["features.fine_1.pw.weight"].clone()
    for network in (compact, whole):
        load_imagenet(network, path)  # type: ignore[arg-type]
    found, expected = compact.state_dict(), whole.state_dict()
    for name in ("conv1", "conv_dw_1", "conv_pw_1", "conv_dw_2", "conv_pw_2", "conv_dw_3", "conv_pw_3"):
        for part in ("weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
            assert torch.equal(found[f"features.{name}.{part}"], expected[f"features.{name}.{part}"]), name
    assert torch.equal(found["features.fine_1.pw.weight"], before)
