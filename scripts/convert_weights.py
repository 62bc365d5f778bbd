"""Weights of any zoo -> a file of ours, or one that timm or torchvision loads.

    python scripts/convert_weights.py mobilenet_1_0_224_tf.h5 v1.safetensors
    python scripts/convert_weights.py torchvision:IMAGENET1K_V2 v2.pth --format timm
    python scripts/convert_weights.py runs/digits/mobilenet_v1_1.0/2026-11-23 v1.safetensors

SOURCE is a file, a folder or a name (README, "Pretrained weights"); what it holds is recognised by
its content. Of a run folder it is best.ckpt, with the average of the weights where one was kept.
"""

import argparse
from collections.abc import Sequence

from mobilenets.console import OneLineParser
from mobilenets.weights import FORMATS, load_model, save_model


def main(argv: Sequence[str] | None = None) -> None:
    """Convert what the command line names, and say what became of every tensor."""
    parser = OneLineParser(
        prog="convert_weights.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="file, folder or name of weights")
    parser.add_argument("dest", metavar="DEST", help="file to write, e.g. v1.safetensors")
    parser.add_argument(
        "--format", choices=FORMATS, default="mobilenets", help="whose names (default: ours)"
    )
    parser.add_argument(
        "--num-classes",
        type=int,
        metavar="N",
        help="0 = no classifier; 1001 = with TensorFlow's background class; else a new classifier",
    )
    args = parser.parse_args(argv)
    options = {} if args.num_classes is None else {"num_classes": args.num_classes}
    try:
        net = load_model(args.source, **options)
        weights = net.weights_report.weights
        loaded_by = save_model(
            net, args.dest, format=args.format, command=weights.command, config=weights.config
        )
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    print(net.weights_report)
    print(f"file    {args.dest}\nfor     {loaded_by}")


if __name__ == "__main__":
    main()
