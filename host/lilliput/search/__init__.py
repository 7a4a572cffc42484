"""TinyNAS: searches the network for a board, with the planner and the engine in the loop."""
