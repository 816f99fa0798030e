"""Inference with trained models.

detector = yolojax.load("runs/shapes")
result = detector.predict("dog.jpg")
result.names, result.scores, result.boxes_pixels, result.draw()

classifier = yolojax.load("tiny.weights")
result = classifier.predict("dog.jpg")
result.names, result.probs  # of the five most probable classes
"""

from yolojax.predict.api import load
from yolojax.predict.classifier import Classification, Classifier
from yolojax.predict.detector import Detector, Result
from yolojax.predict.pictures import Picture

__all__ = ["Classification", "Classifier", "Detector", "Picture", "Result", "load"]
