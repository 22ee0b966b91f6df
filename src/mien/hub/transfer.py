"""Models on the Hugging Face Hub: one commit up, one verified folder down. Needs the extra ``hub``.

The address is the Hub's, or that of ``HF_ENDPOINT``; the token is that of ``hf auth login``, or ``HF_TOKEN``.
"""

from __future__ import annotations

import hashlib
import os
import re
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


# Errors of huggingface_hub.errors, subclasses before their bases; what they mean; what to do.
_ERRORS = (
    ("GatedRepoError", "access must be requested on its page first", f"Request it there, then: {LOGIN}"),
    ("RevisionNotFoundError", "there is no such revision", "Name a branch, a tag or a commit with --revision."),
    (
        "RepositoryNotFoundError",
        "there is no such repository, or it is private and your token may not see it",
        f"Check the name. {LOGIN}",
    ),
    ("LocalEntryNotFoundError", "the connection to the Hub was lost during the download", "Pull again."),
    ("EntryNotFoundError", f"not a model of mien's: it lacks {CARD} or {BEST}", NOT_OURS),
    ("OfflineModeIsEnabled", "HF_HUB_OFFLINE forbids to connect to the Hub", "Unset it."),
    ("HFValidationError", "not a repository's name", "Write OWNER/NAME."),
    ("LocalTokenNotFoundError", "the Hub needs a token", LOGIN),
)
_STATUSES: dict[int | None, tuple[str, str]] = {
    401: ("the Hub does not know the token, or there is none (401)", LOGIN),
    403: ("your token may not do this (403)", LOGIN),
}


@dataclass(frozen=True)
class Upload:
    """The files of one commit.

    Attributes:
        bundle: the model, read from a ``.mien`` file.
        card: the text of its card (:func:`mien.hub.card.model_card`), which states the bundle's SHA-256.
        onnx: files that ``mien export`` made from the same bundle.

    Raises:
        ModelError: where the model is not a ``.mien`` file, or an export is of another model.
        HubError: where the card is of another model.
    """

    bundle: Bundle
    card: str
    onnx: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.bundle.path is None or self.bundle.stored is not None:
            raise ModelError("only a .mien bundle is pushed", self.bundle.path, "Add the ONNX file with --onnx.")
        _check_card(self.card, self.bundle)
        for path in self.onnx:
            if path.suffix.lower() != ONNX_SUFFIX:
                raise ModelError("not an ONNX file", path, "Name a file that mien export wrote.")
            if load_bundle(path).card.provenance.get("bundle_sha256") != self.bundle.sha256:
                mend = "Export this one: mien export MODEL OUT.onnx"
                raise ModelError("it was exported from another model", path, mend)


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


def _stated_sha256(card: str) -> Any:
    stated = front_matter(card).get("mien")
    return stated.get("sha256") if isinstance(stated, dict) else None


def _check_card(card: str, bundle: Bundle) -> None:
    if _stated_sha256(card) != bundle.sha256:
        what = "the card does not state this model's SHA-256 under mien: sha256:"
        raise HubError(what, CARD, "Write it again: mien card MODEL --out CARD.md")


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
    """A downloaded and verified model.

    Attributes:
        repo: its repository.
        revision: the commit.
        path: its folder, which is a MODEL for every command.
        name: the model's name.
        labels: its classes.
        sha256: of the bundle, hex, as its card states.
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
    """Upload a model, its card and its exports as one commit; the repository is made where it is missing.

    Args:
        upload: the files.
        repo: ``OWNER/NAME``.
        private: whether a new repository is private; an existing one stays as it is.
        endpoint: the Hub's address; without it HF_ENDPOINT, or the Hub itself.

    Raises:
        HubError: where the Hub cannot be reached or refuses.
        MissingExtraError: where huggingface_hub is not installed.
    """
    assert upload.bundle.path is not None
    files: dict[str, bytes | str] = {BEST: str(upload.bundle.path), CARD: upload.card.encode()}
    files |= {path.name: str(path) for path in upload.onnx}
    hub, options = _hub(endpoint)
    with _hub_errors(repo):
        api = hub.HfApi(**options)
        api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
        adds = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
        message = f"Upload {upload.bundle.card.name} ({upload.bundle.sha256[:12]})"
        commit = api.create_commit(repo, adds, commit_message=message, repo_type="model")
    return Pushed(repo, str(commit.oid), str(commit.commit_url), tuple(files))


def pull_model(
    repo: str, out: str | Path | None = None, revision: str = "main", *, endpoint: str | None = None
) -> Pulled:
    """Download a model into a folder as ``best.mien`` and ``README.md``, if its SHA-256 is the one its card states.

    Args:
        repo: ``OWNER/NAME``.
        out: the folder; without it, one of the repository's name here. Its files of these two names are replaced.
        revision: a branch, a tag or a commit.
        endpoint: as for :func:`push_model`.

    Raises:
        HubError: where the Hub cannot be reached or refuses, or the repository holds no model of mien's, or another
            than its card states; then nothing is written.
        MissingExtraError: where huggingface_hub is not installed.
    """
    hub, options = _hub(endpoint)
    folder = Path(repo.rpartition("/")[2] if out is None else out)
    with tempfile.TemporaryDirectory(prefix="mien-") as temporary:
        with _hub_errors(repo):
            commit = str(hub.HfApi(**options).model_info(repo, revision=revision).sha)
            options |= {"revision": commit, "local_dir": temporary}
            card = Path(hub.hf_hub_download(repo, CARD, **options)).read_text(encoding="utf-8", errors="replace")
            if not re.fullmatch(r".{64}", str(_stated_sha256(card))):
                raise HubError("not a model of mien's: its card does not state its SHA-256", repo, NOT_OURS)
            path = Path(hub.hf_hub_download(repo, BEST, **options))
        bundle = _verified(path, _stated_sha256(card), repo)
        for name, content in ((BEST, path.read_bytes()), (CARD, card.encode())):
            with atomic(folder / name) as file:
                file.write_bytes(content)
    return Pulled(repo, commit, folder, bundle.card.name, bundle.card.labels, bundle.sha256)


def _hub(endpoint: str | None) -> tuple[Any, dict[str, Any]]:
    """The Hub's library, and the options of its calls."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read as the package is imported
    endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
    return require("huggingface_hub", "hub"), {"endpoint": endpoint, "library_name": "mien"}


def _verified(path: Path, sha256: str, repo: str) -> Bundle:
    """A downloaded bundle, if it has the SHA-256 that its card states."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        what = f"{BEST} has the SHA-256 {found[:16]}…, and its card states {sha256[:16]}…"
        raise HubError(what, repo, "Pull again; if it stays so, do not use it.")
    try:
        return load_bundle(path)
    except ModelError as error:
        raise HubError(f"its {BEST} is {error.what}", repo, NOT_OURS) from error


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Raise the errors of the Hub's library as a HubError with a remedy."""
    library = require("huggingface_hub.errors", "hub")
    try:
        yield
    except (library.HTTPError, library.EntryNotFoundError, library.HFValidationError, OSError, RuntimeError) as error:
        what, mend = _explain(library, error)
        raise HubError(what, repo, mend) from error


def _explain(library: Any, error: Exception) -> tuple[str, str]:
    """What an error means, and what to do."""
    for name, what, mend in _ERRORS:
        if isinstance(error, getattr(library, name)):
            return what, mend
    if isinstance(error, library.HfHubHTTPError):
        status = getattr(error.response, "status_code", None)
        return _STATUSES.get(status, (f"the Hub refused ({status})", "Try again later."))
    if isinstance(error, RuntimeError):  # raised by an upload of large files around its cause
        return f"the upload was interrupted ({type(error.__cause__ or error).__name__})", "Push again."
    mend = "Check the connection, and HF_ENDPOINT if it is set."
    return f"the Hub cannot be reached ({type(error).__name__})", mend
