"""Export a checkpoint: `python scripts/export.py --help` explains every setting."""

from mobilenets.__main__ import main

if __name__ == "__main__":
    main("export")
