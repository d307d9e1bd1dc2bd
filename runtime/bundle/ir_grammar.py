"""The elements of OpenVINO's IR (versions 10 and 11) that a bundle may use; every other one is refused by name.

What is left out on purpose: `rt_info`, which steers the engine in ways of its own, and `blobs`, `meta_data` and
`pre-process` of older versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Attributes: TypeAlias = "frozenset[str] | None"

_NONE = frozenset[str]()
_EDGE = frozenset({"from-layer", "from-port", "to-layer", "to-port"})
_PORT = frozenset({"id", "precision", "names"})
_MAPPED = frozenset({"external_port_id", "internal_layer_id", "purpose", "axis", "start", "end", "stride", "part_size"})
_GRAPH: Mapping[str, Attributes] = {"layers": _NONE, "edges": _NONE}
_PORTS: Mapping[str, Attributes] = {"port": _PORT}
_MAPS: Mapping[str, Attributes] = {"input": _MAPPED, "output": _MAPPED}
BODIES = frozenset({"body", "then_body", "else_body"})
_PORT_MAPS = frozenset({"port_map", "then_port_map", "else_port_map"})

# What may stand inside an element, with the attributes that it may have; none for any, which `data` has.
IR_GRAMMAR: Mapping[str, Mapping[str, Attributes]] = {
    "": {"net": frozenset({"name", "version"})},
    "net": _GRAPH,
    **dict.fromkeys(BODIES, _GRAPH),
    "layers": {"layer": frozenset({"id", "name", "type", "version", "output_names"})},
    "layer": {"data": None, **dict.fromkeys({"input", "output", "back_edges"} | BODIES | _PORT_MAPS, _NONE)},
    "input": _PORTS,
    "output": _PORTS,
    "port": {"dim": _NONE},
    "edges": {"edge": _EDGE},
    "back_edges": {"edge": _EDGE},
    **dict.fromkeys(_PORT_MAPS, _MAPS),
}

# Bits of an element of a constant. Strings are not among them: no network of a bundle computes with them.
_ELEMENTS_OF_BITS = {
    1: "u1",
    2: "u2",
    3: "u3",
    4: "u4 i4 nf4 f4e2m1",
    6: "u6",
    8: "boolean u8 i8 f8e4m3 f8e5m2 f8e8m0",
    16: "u16 i16 f16 bf16",
    32: "u32 i32 f32",
    64: "u64 i64 f64",
}
ELEMENT_BITS = {name: bits for bits, names in _ELEMENTS_OF_BITS.items() for name in names.split()}
