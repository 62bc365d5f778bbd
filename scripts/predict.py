"""Say what is on pictures: `python scripts/predict.py --help` explains every setting."""

from mobilenets.__main__ import main

if __name__ == "__main__":
    main("predict")
