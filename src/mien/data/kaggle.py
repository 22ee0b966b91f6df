"""FER2013 from Kaggle, for those who have accepted the competition's rules."""

from __future__ import annotations

from pathlib import Path

from mien.data.writers import require_empty
from mien.errors import DataError, require

COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"
"""The competition's name on Kaggle."""

_STEPS = (
    f"Accept the rules on kaggle.com/competitions/{COMPETITION}/rules, create an API token "
    "in the account settings (kaggle.com/settings), and either put kaggle.json into ~/.kaggle "
    "or set KAGGLE_USERNAME and KAGGLE_KEY; or download the files in a browser and give the path of their folder."
)


def fetch_fer2013(out: str | Path) -> Path:
    """Download FER2013 into a folder that :func:`mien.data.load_faces` reads.

    Args:
        out: a folder that does not exist yet, or an empty one.

    Returns:
        The folder.

    Raises:
        DataError: where there are no credentials for Kaggle, the rules are not accepted, there is no connection, or
            ``out`` is not empty.
        MissingExtraError: where kagglehub is not installed.
    """
    path = Path(out).expanduser()
    require_empty(path)
    hub = require("kagglehub", "train")
    refusals = require("kagglehub.exceptions", "train")
    try:
        hub.competition_download(COMPETITION, output_dir=str(path))
    except refusals.UnauthenticatedError as error:
        raise DataError("Kaggle requires credentials, and none were found", mend=_STEPS) from error
    except (refusals.DataCorruptionError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"the download from Kaggle failed ({reason})", mend=_STEPS) from error
    return path
