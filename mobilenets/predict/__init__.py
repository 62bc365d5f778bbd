"""Predictions of a trained net for images."""

from mobilenets.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
