"""yolojax: the YOLO family of real-time detectors in JAX and Flax."""
