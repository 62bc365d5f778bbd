"""What the tests of both nets share."""

import pytest
from torch import nn


def _randomise(model):
    """Give the norms and the classifier values that an untrained net does not have."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
            nn.init.normal_(module.bias)
    return model.eval()


@pytest.fixture
def randomise():
    """randomise(model) -> the model in evaluation mode, with values that a trained net has."""
    return _randomise
