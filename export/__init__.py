"""Conversion, parity references and the writing of bundles. Needs torch and onnx."""
