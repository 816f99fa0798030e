"""Show what a loss does on one picture: the assigned anchors, and each term in each cell.

image = explain_picture("runs/voc", "000005").figure  # uint8 RGB
"""

from yolojax.explain.api import Explained, explain_picture, make_watch

__all__ = ["Explained", "explain_picture", "make_watch"]
