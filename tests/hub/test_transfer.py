"""Models up to a stand-in of the Hub and down again, and everything that can go wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Ran
from mien.errors import HubError, ModelError
from mien.export.exporter import export_model
from mien.hub.card import Notes, front_matter, model_card
from mien.hub.transfer import Upload, pull_model, push_model
from mien.inference import Predictor
from mien.models.load import load_bundle
from support.hub_server import TOKEN, Hub, fake_hub

Mien = Callable[..., Ran]
REPO = "someone/faces"
huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A stand-in, with a token that it knows; files go as they do without the Hub's own transport."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with fake_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def tiny_upload() -> Upload:
    bundle = load_bundle("tiny")
    return Upload(bundle, model_card(bundle))


def test_there_and_back_by_the_commands(hub: Hub, mien: Mien, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = export_model("tiny", tmp_path / "tiny.onnx").path
    monkeypatch.chdir(tmp_path)
    ran = mien("push", "tiny", REPO, "--onnx", exported, "--license", "apache-2.0")
    assert ran.code == 0, ran.err
    assert set(hub.repos[REPO]) == {"best.mien", "README.md", "tiny.onnx"}
    assert hub.commits[REPO] == 1
    stated = front_matter(hub.repos[REPO]["README.md"].decode())
    assert (stated["license"], stated["mien"]["onnx"]) == ("apache-2.0", ["tiny.onnx"])
    again = mien("pull", REPO)
    assert again.code == 0, again.err
    assert TOKEN not in ran.out + ran.err + again.out + again.err
    assert {path.name for path in (tmp_path / "faces").iterdir()} == {"best.mien", "README.md"}
    assert Predictor(tmp_path / "faces").bundle.sha256 == load_bundle("tiny").sha256


def test_a_commit_can_be_named(hub: Hub, tmp_path: Path) -> None:
    first = push_model(tiny_upload(), REPO)
    assert first.url.endswith(first.revision)
    assert pull_model(REPO, tmp_path / "a", first.revision).revision == first.revision
    assert f"GET /{REPO}/resolve/{first.revision}/best.mien" in hub.requests


def test_a_model_that_is_not_what_its_card_says_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    push_model(tiny_upload(), REPO)
    hub.repos[REPO]["best.mien"] = load_bundle("best").path.read_bytes()  # type: ignore[union-attr]
    with pytest.raises(HubError, match="and its card states"):
        pull_model(REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "it lacks README.md or best.mien"),
        ({"README__md": b"# a model of somebody else's"}, "its card does not state its SHA-256"),
        ({"README__md": b"---\nmien: [\n---\n"}, "its card does not state its SHA-256"),
        ({"README__md": b"---\nmien:\n  sha256: " + b"a" * 64 + b"\n---\n"}, "it lacks README.md or best.mien"),
    ],
)
def test_what_is_no_model_of_mien(hub: Hub, tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    hub.put(REPO, **files)
    with pytest.raises(HubError, match=words):
        pull_model(REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_bundle(hub: Hub, tmp_path: Path) -> None:
    import hashlib

    hub.put(
        REPO, best__mien=b"no", README__md=f"---\nmien:\n  sha256: {hashlib.sha256(b'no').hexdigest()}\n---\n".encode()
    )
    with pytest.raises(HubError, match="not a mien bundle"):
        pull_model(REPO, tmp_path / "out")


@pytest.mark.parametrize(
    ("start", "status", "code", "words"),
    [
        ("/api/models", 404, "RepoNotFound", "there is no such repository, or it is private"),
        ("/api/models", 401, "RepoNotFound", "there is no such repository, or it is private"),
        ("/api/models", 404, "RevisionNotFound", "there is no such revision"),
        (f"/{REPO}/resolve", 403, "GatedRepo", "access must be requested on its page first"),
        ("/api/models", 401, "", "the Hub does not know the token|no such repository"),
        ("/api/models", 403, "", "your token may not do this"),
        ("/api/models", 400, "", r"the Hub refused \(400\)"),
    ],
)
def test_refusals_say_what_to_do(hub: Hub, tmp_path: Path, start: str, status: int, code: str, words: str) -> None:
    push_model(tiny_upload(), REPO)
    hub.answers[start] = (status, code)
    with pytest.raises(HubError, match=words) as refused:
        pull_model(REPO, tmp_path / "out")
    assert TOKEN not in str(refused.value)
    assert refused.value.mend


def test_pushing_without_a_token_that_the_hub_knows(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    with pytest.raises(HubError, match=r"401|no such repository") as refused:
        push_model(tiny_upload(), REPO)
    assert "hf auth login" in str(refused.value)
    assert "xxx" not in str(refused.value)


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mien: Mien) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ran = mien("pull", REPO, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "the Hub cannot be reached" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_names_that_are_none(hub: Hub, mien: Mien) -> None:
    ran = mien("pull", "not a name")
    assert (ran.code, "not a repository's name. Write OWNER/NAME." in ran.err) == (2, True)
    assert not hub.requests


def test_what_does_not_go_up(hub: Hub, tmp_path: Path) -> None:
    bundle = load_bundle("tiny")
    exported = export_model("best", tmp_path / "best.onnx").path
    with pytest.raises(ModelError, match="exported from another model"):
        Upload(bundle, model_card(bundle), (exported,))
    with pytest.raises(ModelError, match=r"only a \.mien bundle"):
        Upload(load_bundle(exported), model_card(bundle))
    with pytest.raises(HubError, match="does not state this model's SHA-256"):
        Upload(bundle, model_card(load_bundle("best")))
    assert not hub.requests


def test_a_private_repository_is_read_with_the_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_model(tiny_upload(), REPO, private=True)
    hub.private = True
    assert pull_model(REPO, tmp_path / "out").labels[0] == "Angry"
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="private and your token may not see it"):
        pull_model(REPO, tmp_path / "other")


def test_the_card_of_the_library_is_valid_for_the_hub() -> None:
    """The Hub's own reader takes the metadata, the figures included."""
    bundle = load_bundle("tiny")
    half = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3}
    evaluated = [{"data": {"name": "a.parquet"}, "split": "PrivateTest", "n": 3, "accuracy": 0.5, "macro_f1": 0.25,
               "nll": 1.0, "ece": 0.125, "clean": None, "ferplus": None, "heads": None, "confusion": [[1, 2], [0, 3]],
               "per_class": dict.fromkeys("ab", half)}]  # fmt: skip
    card = huggingface_hub.ModelCard(model_card(bundle, evaluated, Notes("apache-2.0")))
    assert card.data.library_name == "mien"
    assert {(one.metric_type, one.metric_value) for one in card.data.eval_results} == {
        ("accuracy", 0.5), ("f1", 0.25), ("expected_calibration_error", 0.125)
    }  # fmt: skip
