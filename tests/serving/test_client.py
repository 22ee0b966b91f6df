"""The client: predictions like the predictor's own, and errors with a remedy; and the document's examples."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image

from conftest import ROOT
from mien.errors import ServiceError
from mien.inference import UNCERTAIN, Prediction, Predictor
from mien.serving.api.access import Keys
from mien.serving.api.app import create_app
from mien.serving.client import Client
from mien.serving.settings import Settings
from support.running_service import running

KEY = "alice-key-0123456789"
DOCUMENT = ROOT / "docs" / "service.md"


def test_predictions_are_the_predictors(url: str, files: list[bytes], alone: list[Prediction], tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(files[0])
    with Client(url) as client:
        assert client.ready()
        one = client.predict(path, detector="none")
        several = client.predict([files[1], b"no image", str(path)], model="second", detector="none")
        assert client.predict([]) == []
        assert [model["name"] for model in client.models()] == ["first", "second"]
        unsure = client.predict(files[0], detector="none", min_confidence=1.0)
    assert (one.path, [found.path for found in several]) == (str(path), ["[0]", "[1]", str(path)])
    assert [found.error is None for found in several] == [True, False, True]
    for found, expected in ((one, alone[0]), (several[0], alone[1]), (several[2], alone[0])):
        assert found.faces[0].probabilities == pytest.approx(expected.faces[0].probabilities, abs=1e-5)
        assert found.faces[0].box == (0, 0, 48, 48)
    assert unsure.faces[0].emotion == UNCERTAIN


def test_a_request_may_set_min_face(url: str) -> None:
    """Where it does not, the note says what is out of reach; the service's limits bound what it costs."""
    buffer = io.BytesIO()
    Image.new("L", (3000, 200)).save(buffer, "PNG")
    with Client(url) as client:
        note = client.predict(buffer.getvalue()).note
        assert note is not None
        assert "out of reach" in note
        assert client.predict(buffer.getvalue(), min_face=90).note is None
        with pytest.raises(ServiceError, match="min_face"):
            client.predict(buffer.getvalue(), min_face=0)


def test_what_is_refused_is_one_error(url: str, predictor: Predictor, files: list[bytes], tmp_path: Path) -> None:
    with Client(url) as client:
        with pytest.raises(ServiceError, match="There is no such model") as caught:
            client.predict(files[0], model="third")
        assert (caught.value.status, caught.value.kind) == (404, "urn:mien:problem:unknown-model")
        with pytest.raises(ServiceError, match="No such file"):
            client.predict(tmp_path / "none.png")
    with running(create_app({"m": predictor}, Settings(threads=1), Keys({"alice": KEY}))) as locked:
        with Client(locked) as client, pytest.raises(ServiceError, match="A valid key is needed"):
            client.models()
        with Client(locked, KEY) as client:
            assert client.models()[0]["name"] == "m"


def test_a_service_that_is_not_there() -> None:
    for address in ("http://127.0.0.1:1", "http://", "nonsense://x"):
        with Client(address) as client:
            assert not client.ready()
            with pytest.raises(ServiceError, match="cannot be reached"):
                client.models()


class Busy(BaseHTTPRequestHandler):
    """Another server: busy the first two times, then an answer that is not JSON."""

    requests = 0

    def do_GET(self) -> None:
        Busy.requests += 1
        self.send_response(429 if Busy.requests <= 2 else 200)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"text")

    def log_message(self, *arguments: object) -> None:
        pass


def test_it_repeats_a_request_where_the_service_is_busy() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with Client(address, retries=1) as client, pytest.raises(ServiceError, match="status 429") as caught:
            client.models()
        assert (caught.value.status, Busy.requests) == (429, 2)
        with Client(address) as client, pytest.raises(ServiceError, match="no mien service"):
            client.models()
        server.shutdown()


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def documented(predictor: Predictor, files: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> object:
    """A service as the document starts it, and a folder with the images that it uses."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("face.png", "photo.png"):
        (folder / name).write_bytes(files[0])
    with running(create_app({"best": predictor}, Settings(threads=1), Keys({"alice": KEY}))) as url:
        yield url, folder


def test_the_documents_curl_examples_run(documented: tuple[str, Path]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url, folder = documented
    commands = [one for one in examples("sh") if "curl" in one]
    assert len(commands) >= 4
    for command in commands:
        command = command.replace("http://127.0.0.1:8000", url).replace("$KEY", KEY)
        ran = subprocess.run(
            ["bash", "-euc", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, (command, ran.stderr)
        assert not ran.stdout.startswith('{"type"'), (command, ran.stdout)


def test_the_documents_python_example_runs(documented: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, folder = documented
    monkeypatch.chdir(folder)
    (code,) = examples("python")
    exec(code.replace("http://127.0.0.1:8000", url).replace("YOUR-KEY", KEY), {})
