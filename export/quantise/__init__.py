"""From an fp32 graph to fp16 and int8: the graph carries the precision, every target runs that graph."""
