"""A mail server and a webhook on this machine, which keep what they were sent."""

import json
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pgvigil.demo.ports import HOST, free_port


class _Smtp(socketserver.StreamRequestHandler):
    """Just enough of RFC 5321 to take a message."""

    def handle(self) -> None:
        self._say("220 here")
        for line in self.rfile:
            match line.split()[0].upper():
                case b"EHLO" | b"HELO":
                    self._say("250 here")
                case b"DATA":
                    self._say("354 go on")
                    self._take()
                    self._say("250 taken")
                case b"QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 fine")

    def _take(self) -> None:
        lines = []
        for line in self.rfile:
            if line.rstrip(b"\r\n") == b".":
                break
            lines.append(line.removeprefix(b"."))
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        body = mail.get_body(("plain", "html"))
        assert body is not None
        text = body.get_content()
        self.server.got.append({"title": str(mail["Subject"]), "message": text})  # type: ignore[attr-defined]

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class _Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append(body)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tell nobody."""


class _SmtpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[list[dict[str, Any]]]:
    got: list[dict[str, Any]] = []
    server.got = got  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield got
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def mail_server() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Its port, and the mails it got: `title` and `message`."""
    port = free_port()
    with _serving(_SmtpServer((HOST, port), _Smtp)) as got:
        yield port, got


@contextmanager
def webhook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Its port, and the bodies it got."""
    port = free_port()
    with _serving(ThreadingHTTPServer((HOST, port), _Webhook)) as got:
        yield port, got
