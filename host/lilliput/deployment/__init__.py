"""Puts a model on a board that runs MicroPython, and finds out what the board can hold."""

from __future__ import annotations

from .connection import Board, BoardError
from .deploying import Deployment, Options, deploy
from .facts import BoardFacts, read_facts

__all__ = [
    "Board",
    "BoardError",
    "BoardFacts",
    "Deployment",
    "Options",
    "deploy",
    "read_facts",
]
