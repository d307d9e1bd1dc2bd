"""The networks of MST-Distill's published configurations (Li et al. 2025, arXiv 2507.07015).

What the paper leaves open was read off its reference implementation (github.com/Gray-OREO/MST-Distill): a source of
facts, none of its code is here. Layers carry the names that the published taps use.
"""
