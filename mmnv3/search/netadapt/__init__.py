"""NetAdapt: a trained network, cut step by step to a latency (Section 4.2).

Source: Yang et al., "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile
Applications", ECCV 2018, with the proposals and the criterion of MobileNetV3.
"""
