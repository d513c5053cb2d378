"""A browser that draws the pages of the package; without one their tests are skipped, or fail where one is due."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser; it comes with the extra `test`")

REQUIRED = "CROWDCOUNT_REQUIRE_BROWSER"
"""Environment variable that continuous integration sets, so that no test of a page is skipped in silence there."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_QUIET += ["--disable-component-update", "--disable-sync"]


@contextmanager
def open_browser():
    """Run a browser without a window for the time of the block.

    A fixture of the session would leave an event loop running during the other tests; let it be one of a module.
    """
    with playwright.sync_playwright() as player:
        own = player.chromium.executable_path
        found = own if Path(own).is_file() else next(filter(None, map(shutil.which, _NAMES)), None)
        if found is None:
            missing = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
            missing("no browser is here: playwright install chromium")
        browser = player.chromium.launch(executable_path=found, args=_QUIET)
        yield browser
        browser.close()
