"""+ dimension priors, location prediction

Five clusters of the training boxes as anchors, and centres that stay in their cells. 74.4 mAP.
"""

from yolojax.config import Config
from yolojax.data.from_config import data_priors


def change(config: Config) -> None:
    config.model.location = "sigmoid"
    config.model.anchors = data_priors(config, 5)
