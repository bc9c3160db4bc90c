"""Platform-aware NAS: a controller that learns which networks are worth training.

MnasNet's search (arXiv 1807.11626), which found the seed of MobileNetV3-Large and, run
anew, that of Small (Section 4.1).
"""
