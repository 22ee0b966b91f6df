"""Fetching FER2013: the message where Kaggle refuses. No test reaches the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kagglehub
import pytest
import requests
from kagglehub.exceptions import KaggleApiHTTPError, UnauthenticatedError

from conftest import Ran
from mien.data.kaggle import COMPETITION, fetch_fer2013
from mien.errors import DataError


def answer(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []

    def download(handle: str, *, output_dir: str) -> str:
        calls.append((handle, output_dir))
        if error is not None:
            raise error
        return output_dir

    monkeypatch.setattr(kagglehub, "competition_download", download)
    return calls


def test_without_credentials_the_command_explains_how_to_get_them(
    tmp_path: Path, mien: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real kagglehub, which looks for credentials before it opens a connection."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(kagglehub.config, "get_access_token_from_env", lambda: (None, None))
    ran = mien("data", "fetch", tmp_path / "out")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    for part in ("error: Kaggle requires credentials", "Accept the rules", "token", "kaggle.json", "KAGGLE_KEY"):
        assert part in ran.err


@pytest.mark.parametrize(
    "error",
    [
        UnauthenticatedError(),
        KaggleApiHTTPError("403 Client Error.\n\nYou don't have permission"),
        requests.ConnectionError("no route"),
        ValueError("Invalid Kaggle credentials file"),
    ],
)
def test_every_refusal_gives_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    answer(monkeypatch, error)
    with pytest.raises(DataError, match="Accept the rules") as caught:
        fetch_fer2013(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_the_competition_is_fetched_into_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, None)
    assert fetch_fer2013(tmp_path / "out") == tmp_path / "out"
    assert calls == [(COMPETITION, str(tmp_path / "out"))]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, None)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not an empty folder"):
        fetch_fer2013(tmp_path)
    assert not calls
