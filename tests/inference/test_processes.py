"""Predictors in other processes: pickled, copied, forked, spawned."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import joblib
import numpy as np
import pytest

from mien.data import Faces
from mien.inference import Face, Predictor

FORK = """
import os, sys
import numpy as np
from mien import Predictor
image = np.zeros((100, 100, 3), np.uint8)
predictor = Predictor("tiny", threads=2, detector=sys.argv[1])
whole = predictor.predict(image)
child = os.fork()
if not child:
    assert predictor.predict(image) == whole
    sys.exit(7)  # at the end of the process all is destroyed that would wait for threads
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("tiny", threads=2)


@pytest.fixture(scope="module")
def expected(predictor: Predictor, drawn: Faces) -> list[Face]:
    return predictor.faces(drawn.images[:3])


def test_copies_give_the_same(predictor: Predictor, drawn: Faces, expected: list[Face]) -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    for one in (pickle.loads(pickle.dumps(predictor)), copy.copy(predictor), copy.deepcopy(predictor)):
        assert one.faces(drawn.images[:3]) == expected
        assert one.predict(image) == predictor.predict(image)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_other_processes_give_the_same(method: str, predictor: Predictor, drawn: Faces, expected: list[Face]) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(predictor.faces, drawn.images[:3]).result(60) == expected


def test_joblib_gives_the_same(predictor: Predictor, drawn: Faces, expected: list[Face]) -> None:
    (found,) = joblib.Parallel(n_jobs=2)([joblib.delayed(predictor.faces)(drawn.images[:3])])
    assert found == expected
    joblib.externals.loky.get_reusable_executor().shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("detector", ["fast", "none"])
def test_a_forked_process_ends(detector: str) -> None:
    ran = subprocess.run([sys.executable, "-c", FORK, detector], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "7\n"), ran.stderr
