"""Models on the Hugging Face Hub: one commit up, one checked folder down. Needs the extra ``hub``.

The address is the Hub's, or that of ``HF_ENDPOINT``; the token is that of ``hf auth login``, or ``HF_TOKEN``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien._utils.files import atomic
from mien.errors import HubError, ModelError, require
from mien.hub.card import front_matter
from mien.models.bundle import BEST, ONNX_SUFFIX, Bundle
from mien.models.load import load_bundle

CARD = "README.md"
LOGIN = "Log in with: hf auth login, or set HF_TOKEN to a token that may do this."
NOT_OURS = "Name a repository that mien push filled."


@dataclass(frozen=True)
class Upload:
    """What goes up together.

    Attributes:
        bundle: the model, read from a ``.mien`` file.
        card: the text of its card (:func:`mien.hub.card.model_card`), which states the bundle's SHA-256.
        onnx: files that ``mien export`` made from the same bundle.
    """

    bundle: Bundle
    card: str
    onnx: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.bundle.path is None or self.bundle.stored is not None:
            raise ModelError("only a .mien bundle is pushed", self.bundle.path, "Add the ONNX file with --onnx.")
        _check_card(self.card, self.bundle)
        for path in self.onnx:
            _check_export(path, self.bundle)


def _check_card(card: str, bundle: Bundle) -> None:
    stated = front_matter(card).get("mien")
    if not isinstance(stated, dict) or stated.get("sha256") != bundle.sha256:
        what = "the card does not state this model's SHA-256 under mien: sha256:"
        raise HubError(what, CARD, "Make it anew: mien card MODEL --out CARD.md")


def _check_export(path: Path, bundle: Bundle) -> None:
    if path.suffix.lower() != ONNX_SUFFIX:
        raise ModelError("not an ONNX file", path, "Name a file that mien export wrote.")
    origin = load_bundle(path).card.provenance.get("bundle_sha256")
    if origin != bundle.sha256:
        raise ModelError("it was exported from another model", path, "Export this one: mien export MODEL OUT.onnx")


def read_card(path: Path, bundle: Bundle) -> str:
    """A card from a file.

    Raises:
        HubError: where it cannot be read, or is of another model.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HubError("the card cannot be read as text in UTF-8", path, "Name a card of mien card.") from error
    _check_card(text, bundle)
    return text


@dataclass(frozen=True)
class Pushed:
    """A commit on the Hub."""

    repo: str
    revision: str
    url: str
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Pulled:
    """A model that was fetched and checked.

    Attributes:
        repo: where it comes from.
        revision: the commit.
        path: the folder, which names the model from now on, as the folder of a run does.
        name: the model's.
        labels: its classes.
        sha256: of the bundle, hex, as its card says.
    """

    repo: str
    revision: str
    path: Path
    name: str
    labels: tuple[str, ...]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self) | {"path": str(self.path)}


def push_model(upload: Upload, repo: str, *, private: bool = False, endpoint: str | None = None) -> Pushed:
    """Put a model, its card and its exports into a repository, which is made where it is missing, as one commit.

    Args:
        upload: what goes up.
        repo: ``OWNER/NAME``.
        private: whether a repository that is made is private; one that exists stays as it is.
        endpoint: the Hub's address; without it HF_ENDPOINT, or the Hub itself.

    Raises:
        HubError: where the Hub cannot be reached or refuses.
        MissingExtraError: where huggingface_hub is not installed.
    """
    hub = _hub()
    assert upload.bundle.path is not None
    files: dict[str, bytes | str] = {BEST: str(upload.bundle.path), CARD: upload.card.encode()}
    files |= {path.name: str(path) for path in upload.onnx}
    with _told(repo):
        api = hub.HfApi(endpoint=_endpoint(endpoint), library_name="mien")
        api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
        adds = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
        message = f"Upload {upload.bundle.card.name} ({upload.bundle.sha256[:12]})"
        done = api.create_commit(repo, adds, commit_message=message, repo_type="model")
    return Pushed(repo, str(done.oid), str(done.commit_url), tuple(files))


def pull_model(
    repo: str, out: str | Path | None = None, revision: str = "main", *, endpoint: str | None = None
) -> Pulled:
    """Fetch a model into a folder as ``best.mien`` and ``README.md``, if its SHA-256 is the one that its card states.

    Args:
        repo: ``OWNER/NAME``.
        out: the folder; without it, one of the repository's name here. What it holds under these two names is replaced.
        revision: a branch, a tag or a commit.
        endpoint: as for :func:`push_model`.

    Raises:
        HubError: where the Hub cannot be reached or refuses, or the repository holds no model of mien's, or another
            than its card says; then nothing is written.
        MissingExtraError: where huggingface_hub is not installed.
    """
    hub = _hub()
    folder = Path(repo.rpartition("/")[2] if out is None else out)
    with tempfile.TemporaryDirectory(prefix="mien-") as name:
        with _told(repo):
            commit = str(hub.HfApi(endpoint=_endpoint(endpoint)).model_info(repo, revision=revision).sha)
            how = {"revision": commit, "local_dir": name, "endpoint": _endpoint(endpoint), "library_name": "mien"}
            card = Path(hub.hf_hub_download(repo, CARD, **how)).read_text(encoding="utf-8", errors="replace")
            wanted = _wanted(card, repo)
            data = Path(hub.hf_hub_download(repo, BEST, **how)).read_bytes()
        bundle = _checked(data, wanted, repo, Path(name))
        for file, content in ((BEST, data), (CARD, card.encode())):
            with atomic(folder / file) as temporary:
                temporary.write_bytes(content)
    return Pulled(repo, commit, folder, bundle.card.name, bundle.card.labels, bundle.sha256)


def _hub() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read as the package is imported
    return require("huggingface_hub", "hub")


def _endpoint(named: str | None) -> str | None:
    return named or os.environ.get("HF_ENDPOINT") or None


def _wanted(card: str, repo: str) -> str:
    """The SHA-256 that a card states."""
    stated = front_matter(card).get("mien")
    digest = stated.get("sha256") if isinstance(stated, dict) else None
    if not isinstance(digest, str) or len(digest) != 64:
        raise HubError("not a model of mien's: its card does not state its SHA-256", repo, NOT_OURS)
    return digest


def _checked(data: bytes, wanted: str, repo: str, folder: Path) -> Bundle:
    """The bundle that was fetched, if it is the one that its card is of."""
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        what = f"{BEST} has the SHA-256 {found[:16]}…, and its card states {wanted[:16]}…"
        raise HubError(what, repo, "Pull again; if it stays so, do not use it.")
    path = folder / f"checked-{BEST}"
    path.write_bytes(data)
    try:
        return load_bundle(path)
    except ModelError as error:
        raise HubError(f"its {BEST} is {error.what}", repo, NOT_OURS) from error


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """What the Hub's library raises, as one error that says what to do."""
    failed = require("huggingface_hub.errors", "hub")
    try:
        yield
    except failed.GatedRepoError as error:
        raise HubError("access must be asked for on its page first", repo, f"Ask there, then: {LOGIN}") from error
    except failed.RevisionNotFoundError as error:
        raise HubError(
            "there is no such revision", repo, "Name a branch, a tag or a commit with --revision."
        ) from error
    except failed.RepositoryNotFoundError as error:
        what = "there is no such repository, or it is private and your token may not see it"
        raise HubError(what, repo, f"Check the name. {LOGIN}") from error
    except failed.LocalEntryNotFoundError as error:  # what a broken connection becomes in the midst of a download
        raise HubError("the Hub cannot be reached any more", repo, "Pull again.") from error
    except failed.EntryNotFoundError as error:
        raise HubError(f"not a model of mien's: it lacks {CARD} or {BEST}", repo, NOT_OURS) from error
    except failed.OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE forbids to ask the Hub", repo, "Unset it.") from error
    except failed.HFValidationError as error:
        raise HubError("not a repository's name", repo, "Write OWNER/NAME.") from error
    except failed.LocalTokenNotFoundError as error:
        raise HubError("the Hub wants to know who you are", repo, LOGIN) from error
    except failed.HfHubHTTPError as error:
        raise _refused(error, repo) from error
    except (failed.HTTPError, OSError) as error:
        mend = "Check the connection, and HF_ENDPOINT if it is set."
        raise HubError(f"the Hub cannot be reached ({type(error).__name__})", repo, mend) from error
    except RuntimeError as error:  # what an upload of large files raises around its cause
        raise HubError(
            f"the upload broke off ({type(error.__cause__ or error).__name__})", repo, "Push again."
        ) from error


def _refused(error: Any, repo: str) -> HubError:
    status = getattr(error.response, "status_code", None)
    if status == 401:
        return HubError("the Hub does not know the token, or there is none (401)", repo, LOGIN)
    if status == 403:
        return HubError("your token may not do this (403)", repo, LOGIN)
    return HubError(f"the Hub refused ({status})", repo, "Try again later.")
