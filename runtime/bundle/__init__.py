"""Reading a bundle that may come from a stranger: nothing is opened before it is proved."""

from __future__ import annotations

from mstedge.runtime.bundle.ir_limits import check_ir
from mstedge.runtime.bundle.onnx_limits import OnnxSummary, check_onnx
from mstedge.runtime.bundle.reader import Bundle, open_bundle
from mstedge.runtime.bundle.sums import write_sums

__all__ = ["Bundle", "OnnxSummary", "check_ir", "check_onnx", "open_bundle", "write_sums"]
