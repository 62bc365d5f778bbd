"""Evaluate a checkpoint or a run folder: `python eval.py --help` explains every setting."""

from mobilenets.__main__ import main

if __name__ == "__main__":
    main("eval")
