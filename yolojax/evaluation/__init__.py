"""Evaluation: detections and ground truth -> numbers, intervals and result files."""
