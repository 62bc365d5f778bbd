"""The heat map is the paper's, and lies where it belongs."""

import pytest
import torch
from PIL import Image

from mobilenets import create_model
from mobilenets.predict.gradcam import grad_cam
from mobilenets.predict.overlay import crop_box, draw


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_it_is_the_class_activation_map_of_nets_with_one_linear_layer(name, randomise):
    """There the gradient of a logit is the classifier's row: arXiv 1610.02391, section 3.1."""
    torch.manual_seed(0)
    net = randomise(create_model(name, width_mult=0.25, num_classes=5))
    images, classes = torch.randn(3, 3, 96, 96), torch.tensor([0, 4, 2])
    found = grad_cam(net, images, classes)
    with torch.no_grad():
        features = net.forward_features(images)
        rows = net.classifier[-1].weight[classes]
        expected = torch.einsum("nchw,nc->nhw", features, rows).relu()
    expected = expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(found, expected)
    assert found.shape == (3, 3, 3)
    predicted = net(images).argmax(1)
    torch.testing.assert_close(grad_cam(net, images), grad_cam(net, images, predicted))


def test_what_speaks_for_nothing_is_no_division_by_zero(randomise):
    net = randomise(create_model("mobilenet_v1", width_mult=0.25, num_classes=2))
    with torch.no_grad():
        net.classifier[-1].weight.fill_(-1)
    assert grad_cam(net, torch.randn(1, 3, 64, 64)).eq(0).all()


PREPROCESSING = {"image_size": 80, "crop_pct": 0.8}


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((100, 100), (10, 10, 90, 90)),
        ((200, 100), (60, 10, 140, 90)),
        ((50, 100), (5, 30, 45, 70)),
    ],
)
def test_the_crop_is_evaluations(size, box):
    assert crop_box(*size, PREPROCESSING) == box


def test_the_heat_lies_where_the_net_saw_it():
    heat = torch.zeros(4, 4)
    heat[0, 3] = 1  # top right of the crop, which is (200, 100, 1000, 900) enlarged from below
    grey = Image.new("RGB", (400, 400), (100, 100, 100))
    drawn = draw(grey, [("a", 0.9)], heat, PREPROCESSING)
    changed = [
        place
        for place in ((320, 80), (80, 80), (80, 320), (320, 320), (10, 10))
        if max(abs(value - 100) for value in drawn.getpixel(place)) > 20
    ]
    assert changed == [(320, 80)]


def test_small_pictures_are_enlarged_and_answers_fit_below():
    drawn = draw(Image.new("RGB", (8, 8), "red"), [("a" * 500, 1.0), ("b", 0.0)])
    assert drawn.width == 320
    assert drawn.height > 340
    assert drawn.getpixel((160, 160)) == (255, 0, 0)
    assert draw(Image.new("L", (4000, 3000)), [("a", 0.5)]).width == 1024
