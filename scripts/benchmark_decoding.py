"""Images/s that one core decodes, crops and resizes for training, for each JPEG decoder.

    python scripts/benchmark_decoding.py /data/imagenet/val --size 224

Every decoder gets the same files and the same random crops (of 8 to 100 % of the area). All are
timed in turn, several times, in CPU seconds of this process, and the median counts. "difference" is
the mean change of the result's pixels, of 255, against PIL in full. simplejpeg is measured where it
is installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from mobilenets.console import OneLineParser
from mobilenets.data.decode import Box, EncodedImage, decode_image, read_file

Decoder = Callable[[bytes, Box, int], Tensor]  # (file, crop, size) -> the crop, (3, H, W) uint8


def pil_full(data: bytes, box: Box, size: int) -> Tensor:
    """All pixels, then the crop."""
    return cut_out(decode_image(data, "", 3), box)


def pil_reduced(data: bytes, box: Box, size: int) -> Tensor:
    """What training does."""
    return EncodedImage(data, "", 3).decode(box, min_size=size)


def torchvision_full(data: bytes, box: Box, size: int) -> Tensor:
    """torchvision.io can't reduce."""
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return cut_out(decode_jpeg(encoded, ImageReadMode.RGB), box)


def simplejpeg_reduced(data: bytes, box: Box, size: int) -> Tensor:
    """Any eighth of the size at which the crop still covers the target."""
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    share = min(1, size / min(box.height, box.width))
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height * share, min_width=width * share)
    scale = len(pixels) / height
    scaled = Box(*(round(edge * scale) for edge in box))
    return cut_out(torch.from_numpy(pixels).permute(2, 0, 1), scaled)


def cut_out(pixels: Tensor, box: Box) -> Tensor:
    """Copy a crop, as resizing a view takes longer."""
    return F.crop(pixels, *box).permute(1, 2, 0).contiguous().permute(2, 0, 1)


DECODERS: dict[str, Decoder] = {
    "PIL in full": pil_full,
    "PIL reduced (ours)": pil_reduced,
    "torchvision.io": torchvision_full,
}
if find_spec("simplejpeg"):
    DECODERS["simplejpeg reduced"] = simplejpeg_reduced


def draw_boxes(files: Sequence[bytes], seed: int) -> list[Box]:
    """One crop a file, as training draws them."""
    torch.manual_seed(seed)
    images = [EncodedImage(data, "", 3) for data in files]
    canvases = [torch.empty(1, image.height, image.width, device="meta") for image in images]
    draw = RandomResizedCrop.get_params
    return [Box(*draw(canvas, [0.08, 1.0], [3 / 4, 4 / 3])) for canvas in canvases]


class Result(NamedTuple):
    """What one decoder took for all files, in CPU seconds, and gave."""

    decoding: float  # includes the crop
    resizing: float
    images: Tensor  # (N, 3, size, size) uint8


def measure(decode: Decoder, files: Sequence[bytes], boxes: Sequence[Box], size: int) -> Result:
    """Run all files through one decoder."""
    start = time.process_time()
    crops = [decode(data, box, size) for data, box in zip(files, boxes, strict=True)]
    middle = time.process_time()
    images = [F.resize(crop, [size, size], antialias=True) for crop in crops]
    return Result(middle - start, time.process_time() - middle, torch.stack(images))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print one line a decoder."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="JPEG files, at any depth")
    parser.add_argument("--size", type=int, default=224, help="height and width of the results")
    parser.add_argument("--images", type=int, default=100, help="how many files, at most")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is timed")
    args = parser.parse_args(argv)
    paths = sorted(path for path in args.folder.rglob("*") if path.suffix in (".jpg", ".JPEG"))
    if not paths:
        parser.error(f"{args.folder} holds no .jpg or .JPEG files: give a folder that does")
    files = [read_file(str(path)) for path in paths[:: -(-len(paths) // args.images)]]

    torch.set_num_threads(1)
    boxes = draw_boxes(files, seed=0)
    # The first round warms up.
    rounds = [
        {name: measure(decode, files, boxes, args.size) for name, decode in DECODERS.items()}
        for _ in range(args.rounds + 1)
    ][1:]
    reference = rounds[0]["PIL in full"].images.float()
    print(f"{len(files)} files, {args.size} px, {args.rounds} rounds")
    print("decoder             images/s   decoding   resizing  difference")
    for name in DECODERS:
        results = [measured[name] for measured in rounds]
        decoding = statistics.median(result.decoding for result in results) / len(files)
        resizing = statistics.median(result.resizing for result in results) / len(files)
        difference = (results[0].images - reference).abs().mean()
        print(
            f"{name:18}{1 / (decoding + resizing):10.0f}{1000 * decoding:8.2f} ms"
            f"{1000 * resizing:8.2f} ms{difference:12.2f}"
        )


if __name__ == "__main__":
    main()
