"""What a net makes of pictures."""

from mobilenets.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
