"""Datasets as the public code of MST-Distill reads them: arrays that were preprocessed, and its 20 permutations.

File names, axes, the order of classes and the way permutations are drawn are facts read off that code
(github.com/Gray-OREO/MST-Distill, MIT: `utils.py`, `indices_gen.py`, `data_preprocess`); none of it is here. Where it
reads pickled objects or HDF5, the same arrays are expected as .npy files (docs/data.md has the conversion).
"""
