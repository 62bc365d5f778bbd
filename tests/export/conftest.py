"""Small nets, ready for export."""

import pytest
import torch

from mobilenets import create_model
from mobilenets.export import Exportable
from mobilenets.weights import load_weights, save_model
from tests.conftest import PREPROCESSING

SHORT = {  # exporters are slow for each layer
    "mobilenet_v1": {"shallow": True},
    "mobilenet_v2": {"stages": [[1, 16, 1, 1], [6, 24, 2, 2], [6, 64, 1, 2]]},
}


def imitate_training(net):
    """Give a net the batch statistics of some images, and logits far from zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        net.train()
        for _ in range(3):
            net(torch.randn(16, net.options["in_channels"], 32, 32, generator=generator))
        net.classifier[-1].weight.normal_(0, 0.5, generator=generator)
    return net.eval()


@pytest.fixture(scope="module")
def exportable(tmp_path_factory):
    """exportable(name, preprocess=False, **options) -> an `Exportable` with five classes."""

    def make(name="mobilenet_v2", preprocess=False, preprocessing=PREPROCESSING, **options):
        torch.manual_seed(0)
        options = SHORT[name] | options
        net = create_model(name, width_mult=0.25, num_classes=5, dropout=0.0, **options)
        preprocessing = preprocessing | {"in_channels": net.options["in_channels"]}
        if net.options["in_channels"] == 1:
            preprocessing |= {"mean": [0.5], "std": [0.2]}
        file = tmp_path_factory.mktemp("net") / "net.safetensors"
        names = list("abcde")
        save_model(imitate_training(net), file, class_names=names, preprocessing=preprocessing)
        return Exportable(load_weights(file), preprocess)

    return make
