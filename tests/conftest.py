"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared():
    """Folder of recorded reference numbers and real images that only the developers hold."""
    folder = Path(os.environ.get("CROWDCOUNT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the reference folder (CROWDCOUNT_SHARED) is not here")
    return folder


@pytest.fixture(scope="session")
def golden():
    """Folder of the reference numbers committed with the tests."""
    return Path(__file__).parent / "golden"
