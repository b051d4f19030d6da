"""A service whose catalog is in PostgreSQL: it starts, is watched, and takes a second worker."""

from pathlib import Path

import pytest

from .conftest import make_site
from .support import started


def test_it_serves_and_is_watched(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOZO_CATALOG_DATABASE", f'"{postgres_url}"')
    with make_site(tmp_path, "main") as site:
        home = site.settings.home
    with started(home) as service:
        assert service.get("/healthz").json()["loops"]["adopt"] is True
        assert service.local("/readyz").json()["checks"]["catalog"] == "ok"
        text = service.local("/metrics").text
        assert "dozo_scrape_failed{" in text
        assert not [
            line
            for line in text.splitlines()
            if line.startswith("dozo_scrape_failed") and not line.endswith(" 0.0")
        ]
        # A second worker is welcome.
        with started(home, "worker", ready=False) as worker:
            worker.wait_logged("has begun")
            assert worker.stop() == 0
        assert service.stop() == 0
    assert not (home / "catalog.sqlite3").exists()
