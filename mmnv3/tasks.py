"""What a network is for."""

DETECTION, SEGMENTATION, CLASSIFICATION = 'detection', 'segmentation', 'classification'
