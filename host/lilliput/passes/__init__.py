"""Rewrites of graphs: each a pure function from graph to graph."""
