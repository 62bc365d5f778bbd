"""Convert weights of any zoo to our format, or to one that timm or torchvision loads.

    python scripts/convert_weights.py mobilenet_1_0_224_tf.h5 v1.safetensors
    python scripts/convert_weights.py torchvision:IMAGENET1K_V2 v2.pth --format timm
    python scripts/convert_weights.py runs/digits/mobilenet_v1_1.0/2026-11-23 v1.safetensors

SOURCE is a file, a folder or a name (README, "Pretrained weights"); a file is recognised by its
content. In a run folder it is best.ckpt, or its EMA if the run kept one.
"""

import argparse
from collections.abc import Sequence

from mobilenets.console import OneLineParser, label_lines
from mobilenets.weights import FORMATS, load_model, save_model


def main(argv: Sequence[str] | None = None) -> None:
    """Convert weights as the command line says, and report what became of every tensor."""
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
        help="0 = no classifier; 1001 = keep TensorFlow's background class; else a new classifier",
    )
    args = parser.parse_args(argv)
    options = {} if args.num_classes is None else {"num_classes": args.num_classes}
    try:
        net = load_model(args.source, **options)
        weights = net.weights_report.weights
        hint = save_model(
            net, args.dest, format=args.format, command=weights.command, config=weights.config
        )
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")
    except OSError as error:
        parser.exit(1, f"error: {args.dest} can't be written ({error.strerror})\n")
    print(net.weights_report)
    print(label_lines("file", args.dest))
    print(label_lines("for", hint))


if __name__ == "__main__":
    main()
