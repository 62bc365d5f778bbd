"""What the tests of the nets share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def assert_same_logits(randomise):
    """assert_same_logits(ours, theirs): with the same weights both nets compute the same.

    Both list the same layers in the same order; the weights are `theirs`, randomised.
    """

    def check(ours, theirs):
        randomise(theirs)
        tensors = theirs.state_dict().values()
        ours.load_state_dict(dict(zip(ours.state_dict(), tensors, strict=True)))
        x = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            expected, logits = theirs(x), ours.eval()(x)
        assert expected.std() > 0.1
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)

    return check
