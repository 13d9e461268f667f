"""Graphs to measure: micro-kernel and multi-layer benchmarks, the network zoo, cell spaces."""
