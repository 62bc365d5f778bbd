"""What all tests share."""

import warnings

import pytest
import torch

torch.set_num_threads(1)  # the nets of the tests are too small to share out


@pytest.fixture(autouse=True)
def quiet_lightning():
    """What a run leaves unsaid is no error of a test either."""
    from mobilenets.reports import quiet_lightning

    with warnings.catch_warnings():
        quiet_lightning()
        yield
