"""API keys and rate limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import ServiceError
from mien.inference import Predictor
from mien.serving.api.access import Keys, RateLimiter
from mien.serving.api.app import create_app
from mien.serving.settings import Settings
from support.running_service import running

ALICE, BOB = "alice-key-0123456789", "bob-key-9876543210"


@pytest.fixture(scope="module")
def locked(predictor: Predictor) -> Iterator[httpx.Client]:
    app = create_app({"m": predictor}, Settings(threads=1), Keys({"alice": ALICE, "bob": BOB}))
    with running(app) as url, httpx.Client(base_url=url) as http:
        yield http


@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_the_right_key_opens(locked: httpx.Client, path: str) -> None:
    for headers in ({"Authorization": f"Bearer {ALICE}"}, {"X-API-Key": BOB}, {"authorization": f"bearer {BOB}"}):
        assert locked.get(path, headers=headers).status_code == 200


WRONG = [
    {}, {"X-API-Key": ""}, {"X-API-Key": ALICE[:-1]}, {"X-API-Key": ALICE + "x"}, {"Authorization": ALICE},
    {"Authorization": f"Basic {ALICE}"}, {"Authorization": "Bearer " + "x" * 4000}, {"Authorization": "Bearer ü"},
]  # fmt: skip


@pytest.mark.parametrize("headers", WRONG)
def test_a_wrong_or_missing_key_does_not(locked: httpx.Client, headers: dict[str, str]) -> None:
    sent = {name: value.encode() for name, value in headers.items()}
    for answer in (
        locked.get("/v1/models", headers=sent),  # type: ignore[arg-type]
        locked.get("/metrics", headers=sent),  # type: ignore[arg-type]
        locked.post("/v1/predict", headers=sent, content=b"x"),  # type: ignore[arg-type]
    ):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="mien"'
        assert answer.json()["type"] == "urn:mien:problem:unauthorized"
        assert ALICE not in answer.text


def test_health_needs_no_key(locked: httpx.Client) -> None:
    assert [locked.get(path).status_code for path in ("/healthz", "/readyz", "/v1/openapi.json")] == [200] * 3


def test_every_key_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that stops at the first hit, or at the first differing byte, would leak the key by its time."""
    import hmac

    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or compare(a, b))
    keys = Keys({"alice": ALICE, "bob": BOB})
    assert [keys.owner(key) for key in (ALICE, BOB, "", "x" * 1000)] == ["alice", "bob", None, None]
    assert compared == [(32, 32)] * 8


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# keys\n\nalice {ALICE}\n  {BOB}  \n", encoding="utf-8")
    keys = Keys.read(file)
    assert (keys.owner(ALICE), keys.owner(BOB), keys.owner("alice")) == ("alice", "line 4", None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no key"),
        ("# none\n", "no key"),
        ("short", "at least 16"),
        ("alice key-with-ümlaut-123", "printable ASCII"),
        (f"a b {ALICE}", "one owner and one key"),
        (f"alice {ALICE}\nbob {ALICE}", "keys:2: this owner or key was there before"),
        (f"alice {ALICE}\nalice {BOB}", "was there before"),
    ],
)
def test_key_files_that_are_refused(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ServiceError, match=what) as caught:
        Keys.read(file)
    assert ALICE not in str(caught.value)


def test_key_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("none", "bytes", "."):
        with pytest.raises(ServiceError, match="cannot be read"):
            Keys.read(tmp_path / name)


def test_a_rate_limit_holds_for_its_owner_only(predictor: Predictor) -> None:
    app = create_app({"m": predictor}, Settings(rate=0.01, burst=2, threads=1), Keys({"alice": ALICE, "bob": BOB}))
    with running(app) as url, httpx.Client(base_url=url) as http:
        found = [http.get("/v1/models", headers={"X-API-Key": ALICE}) for _ in range(3)]
        assert [one.status_code for one in found] == [200, 200, 429]
        assert found[2].json()["type"] == "urn:mien:problem:rate-limited"
        assert 1 <= int(found[2].headers["Retry-After"]) <= 101
        assert http.get("/v1/models", headers={"X-API-Key": BOB}).status_code == 200
        assert http.get("/v1/models", headers={"X-API-Key": "wrong"}).status_code == 401


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.1, 5), st.integers(1, 5))
def test_a_bucket_never_gives_more_than_its_rate_and_its_burst(waits: list[float], rate: float, burst: int) -> None:
    now = [0.0]
    buckets = RateLimiter(rate, burst, clock=lambda: now[0])
    granted = 0
    for wait in waits:
        now[0] += wait
        left = buckets.take("one")
        granted += left == 0
        assert granted <= burst + rate * now[0] + 1e-6
        if left:
            now[0] += left + 1e-6
            assert buckets.take("one") == 0
            granted += 1
