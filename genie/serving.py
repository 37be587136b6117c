"""A page on this machine: its socket and address, and the server that sends it. For every command that has one.

The group of a command's configuration that says where, `section`, has the keys host and port.
"""

import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from genie.checks import require_whole
from genie.errors import UserError
from genie.guard import is_loopback

OTHER_MESSAGES = 64 * 1024  # bytes above the largest upload, so that a slightly larger one gets an answer


def check_address(settings: dict[str, Any], section: str) -> None:
    """Raises UserError for a host or a port that cannot be."""
    if not isinstance(settings["host"], str) or not settings["host"].strip():
        raise UserError(
            f"{section}.host={settings['host']} must be a name or an address: 127.0.0.1 for this machine alone, "
            "0.0.0.0 to let others in"
        )
    require_whole(settings, "port", least=0, prefix=f"{section}.")
    if settings["port"] > 65535:
        raise UserError(f"{section}.port={settings['port']} must be at most 65535")


def serve_page(build: Callable[[bool], Any], settings: dict[str, Any], section: str, max_upload: int = 0) -> None:
    """Prints the address and serves until Ctrl-C.

    build: gives the app, told whether the address is a loopback one; called once it is known that the port is free.
    max_upload: bytes. Raises UserError where nothing can listen there.
    """
    host = settings["host"]
    with bind(host, settings["port"], section) as listener:
        loopback = is_loopback(host)
        app = build(loopback)
        if not loopback:
            print(f"warning: {section}.host={host} lets in all who reach this machine: no password", file=sys.stderr)
        print(address(host, listener), flush=True)
        serve(app, listener, max_upload)


def bind(host: str, port: int, section: str) -> socket.socket:
    """A socket that listens. Raises UserError where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise UserError(f"{section}.host={host} is not an address of this machine ({error.strerror})") from error
        way = f"give another {section}.port=, or {section}.port=0 for a free one"
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}): {way}") from error


def address(host: str, listener: socket.socket) -> str:
    """What to open in a browser on this machine."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def web_server(app: Any, max_upload: int) -> uvicorn.Server:
    """The server of an app; messages of up to `max_upload` bytes and a few reach it."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="on",
        ws_max_size=max_upload + OTHER_MESSAGES, ws_per_message_deflate=False,  # pictures are compressed already
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(app: Any, listener: socket.socket, max_upload: int) -> None:
    """Serves until Ctrl-C."""
    try:
        web_server(app, max_upload).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn hands the signal on once everything is closed
        print("stopped", file=sys.stderr)
