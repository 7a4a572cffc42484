"""The page on this computer: one file, and a stream of events that it draws."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from types import TracebackType
from typing import Any, Self

from .frames import Frame

_HEARTBEAT_SECONDS = 2.0  # after which a page that is gone is noticed


class LiveServer:
    """Serves the page on this computer only, for as long as the `with` statement.

    port: of HTTP, 0 for any that is free. title: what the page names as its source.
    Raises OSError when the port is taken.
    """

    def __init__(self, port: int, title: str) -> None:
        self._news = _News()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self._news, title))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def show(self, frame: Frame) -> None:
        """Shows a frame in all pages that are open, and in those that are opened next."""
        told = dataclasses.asdict(frame)
        told["pixels"] = base64.b64encode(frame.pixels).decode()
        self._news.publish({"frame": told})

    def say(self, message: str) -> None:
        """Says why there are no frames."""
        self._news.publish({"message": message})


class _News:
    """The newest event, for which any number of threads wait. Slow readers miss some."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._event: dict[str, Any] = {"message": "waiting for the board"}
        self._number = 1

    def publish(self, event: dict[str, Any]) -> None:
        with self._changed:
            self._event = event
            self._number += 1
            self._changed.notify_all()

    def after(self, number: int) -> tuple[int, dict[str, Any] | None]:
        """The newest event and its number; None where there is no newer one than `number`."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number, _HEARTBEAT_SECONDS)
            return self._number, self._event if self._number > number else None


def _handler(news: _News, title: str) -> type[BaseHTTPRequestHandler]:
    page = resources.files(__package__).joinpath("page.html").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._begin("text/html; charset=utf-8")
                self.wfile.write(page)
            elif self.path == "/events":
                self._begin("text/event-stream")
                self._stream()
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _begin(self, content: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", content)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()

        def _stream(self) -> None:
            number = 0
            try:
                self._send({"title": title})
                while True:
                    number, event = news.after(number)
                    if event is None:
                        self.wfile.write(b": nothing new\n\n")
                    else:
                        self._send(event)
            except ConnectionError:
                pass  # the page was closed

        def _send(self, event: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
