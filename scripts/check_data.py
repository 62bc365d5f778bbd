"""Check a data set: `python scripts/check_data.py --help` explains every setting."""

from mobilenets.__main__ import main

if __name__ == "__main__":
    main("check_data")
