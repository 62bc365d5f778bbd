"""Measure how many images/s one core decodes, crops and resizes, for each JPEG decoder.

    python scripts/benchmark_decoding.py /data/imagenet/val --size 224

Every decoder gets the same files and the same random crops (of 8 to 100 % of the area). All take
turns, several times, timed in CPU seconds of this process; the median counts. "difference" is the
mean change of a pixel, of 255, against PIL in full. simplejpeg is measured where it is installed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from mobilenets.console import OneLineParser, format_table, number
from mobilenets.data.decode import Box, EncodedImage, decode_image, read_file

Decoder = Callable[[bytes, Box, int], Tensor]  # (file, crop, size) -> the crop, (3, H, W) uint8


def torchvision_full(data: bytes, box: Box, size: int) -> Tensor:
    """Decode all pixels with torchvision.io, which can't reduce."""
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return crop(decode_jpeg(encoded, ImageReadMode.RGB), box)


def simplejpeg_reduced(data: bytes, box: Box, size: int) -> Tensor:
    """Decode at the smallest number of eighths at which the crop still covers the result."""
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    share = min(1, size / min(box.height, box.width))
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height * share, min_width=width * share)
    scale = len(pixels) / height
    scaled = Box(*(round(edge * scale) for edge in box))
    return crop(torch.from_numpy(pixels).permute(2, 0, 1), scaled)


def crop(pixels: Tensor, box: Box) -> Tensor:
    """Copy a crop, as resizing a view takes longer."""
    return F.crop(pixels, *box).permute(1, 2, 0).contiguous().permute(2, 0, 1)


DECODERS: dict[str, Decoder] = {
    "PIL in full": lambda data, box, size: crop(decode_image(data, "", 3), box),
    "PIL reduced (ours)": lambda data, box, size: EncodedImage(data, "", 3).decode(box, size),
    "torchvision.io": torchvision_full,
}
if find_spec("simplejpeg"):
    DECODERS["simplejpeg reduced"] = simplejpeg_reduced


def draw_boxes(files: Sequence[bytes]) -> list[Box]:
    """Draw a crop for each file, the same in every run."""
    torch.manual_seed(0)
    images = [EncodedImage(data, "", 3) for data in files]
    canvases = [torch.empty(1, image.height, image.width, device="meta") for image in images]
    draw = RandomResizedCrop.get_params
    return [Box(*draw(canvas, [0.08, 1.0], [3 / 4, 4 / 3])) for canvas in canvases]


def measure(
    decode: Decoder, files: Sequence[bytes], boxes: Sequence[Box], size: int
) -> tuple[float, float, Tensor]:
    """Return the CPU seconds of decoding and cropping, those of resizing, and uint8 images."""
    start = time.process_time()
    crops = [decode(data, box, size) for data, box in zip(files, boxes, strict=True)]
    middle = time.process_time()
    images = [F.resize(pixels, [size, size], antialias=True) for pixels in crops]
    return middle - start, time.process_time() - middle, torch.stack(images)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all decoders and print a table."""
    parser = OneLineParser(
        prog="benchmark_decoding.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, count = parser.add_argument, number(int, above=0)
    add("folder", type=Path, help="JPEG files, at any depth")
    add("--size", type=count, default=224, help="height and width of the results (default: 224)")
    add("--images", type=count, default=100, help="the maximum number of files (default: 100)")
    add("--rounds", type=count, default=5, help="how often everything is timed (default: 5)")
    args = parser.parse_args(argv)
    paths = sorted(path for path in args.folder.rglob("*") if path.suffix in (".jpg", ".JPEG"))
    if not paths:
        parser.error(f"{args.folder} holds no .jpg or .JPEG files: give a folder that does")
    files = [read_file(str(path)) for path in paths[:: -(-len(paths) // args.images)]]

    torch.set_num_threads(1)
    boxes = draw_boxes(files)
    rounds = [
        {name: measure(decode, files, boxes, args.size) for name, decode in DECODERS.items()}
        for _ in range(args.rounds + 1)
    ][1:]  # the first round warms up
    reference = rounds[0]["PIL in full"][2].float()
    rows = []
    for name in DECODERS:
        seconds = zip(*(measured[name][:2] for measured in rounds), strict=True)
        decoding, resizing = (1e3 * median(times) / len(files) for times in seconds)
        difference = (rounds[0][name][2] - reference).abs().mean().item()
        speed = f"{1e3 / (decoding + resizing):.0f}"
        rows.append([name, speed, f"{decoding:.2f} ms", f"{resizing:.2f} ms", f"{difference:.2f}"])
    print(f"{len(files)} files, {args.size} px, {args.rounds} rounds")
    print(format_table(["decoder", "images/s", "decoding", "resizing", "difference"], rows))


if __name__ == "__main__":
    main()
