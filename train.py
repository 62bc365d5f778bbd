"""Train a net, and test it once at the end: `python train.py --help` explains every setting."""

from mobilenets.__main__ import main

if __name__ == "__main__":
    main("train")
