"""What a board's model sees and says, in a web page on this computer."""

from __future__ import annotations

from .frames import Frame, frames
from .live_view import Source, live_view
from .server import LiveServer

__all__ = ["Frame", "LiveServer", "Source", "frames", "live_view"]
