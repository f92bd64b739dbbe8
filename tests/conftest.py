"""Fixtures that several test modules share."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from granet.data import DataConfig, prepare

ROOT = Path(__file__).parents[1]

# A shell that starts the tests in the background ignores Ctrl-C for them, and so would all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("shared-machine", deadline=None)  # a busy core is no slow example
settings.load_profile("shared-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run whole stages come first: a long file at the end would leave one of two workers idle."""
    items.sort(key=lambda item: "granet" in item.path.relative_to(ROOT).parts)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared subset of the digits: 200 training, 40 validation and 100 test images. Read only."""
    folder = tmp_path_factory.mktemp("prepared") / "digits"
    prepare("digits", folder, DataConfig(train_size=200, val_size=40, test_size=100))
    return folder
