"""Two contenders of a page each: a plain Tornado message relay, and the predecessors' Flask-Sock design on gevent.

    python bench/relays.py tornado|flask UPSTREAM_PORT CA_FILE

Prints its port as one line of JSON; ends on SIGTERM. Run by an interpreter that has the libraries.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys


def tornado_relay(upstream: int, ca_file: str) -> None:
    """Read a message, write a message, in both directions: what one writes first with Tornado."""
    from tornado.httpclient import HTTPRequest
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application
    from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

    context = ssl.create_default_context(cafile=ca_file)

    class Relay(WebSocketHandler):
        def select_subprotocol(self, subprotocols: list[str]) -> str | None:
            return "binary" if "binary" in subprotocols else None

        async def open(self, *path: str) -> None:
            request = HTTPRequest(f"wss://127.0.0.1:{upstream}{self.request.uri}", ssl_options=context)
            self.upstream = await websocket_connect(request, subprotocols=["binary"])
            self.pump = asyncio.create_task(self.to_browser())

        async def to_browser(self) -> None:
            while (message := await self.upstream.read_message()) is not None:
                try:
                    await self.write_message(message, binary=True)
                except WebSocketClosedError:
                    return
            self.close()

        async def on_message(self, message: str | bytes) -> None:
            await self.upstream.write_message(message, binary=True)

        def on_close(self) -> None:
            self.pump.cancel()
            self.upstream.close()

    async def main() -> None:
        sockets = bind_sockets(0, "127.0.0.1", backlog=1024)
        HTTPServer(Application([("/.*", Relay)], log_function=lambda handler: None)).add_sockets(sockets)
        ready(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def flask_relay(upstream: int, ca_file: str) -> None:
    """Flask-Sock for the browser, websocket-client for Proxmox, a greenlet for each direction."""
    from gevent import monkey

    monkey.patch_all()
    import gevent
    import websocket
    from flask import Flask
    from flask_sock import Sock
    from gevent.pywsgi import WSGIServer
    from simple_websocket import ConnectionClosed

    # A websocket that runs to its end has no access log line anyway.
    app = Flask(__name__)
    app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["binary"]}
    sock = Sock(app)

    @sock.route("/<path:path>")
    def relay(browser, path):  # type: ignore[no-untyped-def]
        proxmox = websocket.create_connection(
            f"wss://127.0.0.1:{upstream}/{path}", sslopt={"ca_certs": ca_file}, subprotocols=["binary"]
        )

        def to_browser() -> None:
            try:
                while data := proxmox.recv():
                    browser.send(data)
            except (ConnectionClosed, websocket.WebSocketException, OSError):
                pass

        pump = gevent.spawn(to_browser)
        try:
            while True:
                proxmox.send_binary(browser.receive())
        except (ConnectionClosed, websocket.WebSocketException, OSError):
            pass
        finally:
            proxmox.close()
            pump.kill()

    server = WSGIServer(("127.0.0.1", 0), app, backlog=1024, log=None)
    server.start()
    ready(server.server_port)
    server.serve_forever()


def ready(port: int) -> None:
    print(json.dumps({"port": port}), flush=True)


if __name__ == "__main__":
    {"tornado": tornado_relay, "flask": flask_relay}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
