"""Layer kinds, their modules, the network that runs a table of layers, and networks as tables."""

from yolojax.models.networks import NETWORKS, Architecture, build_network, count_outputs

__all__ = ["NETWORKS", "Architecture", "build_network", "count_outputs"]
