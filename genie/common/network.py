"""Whether a server can be reached, asked before anything waits for it."""

import socket
from urllib.parse import urlparse

from genie.common.errors import reason

CONNECT_SECONDS = 3.0


def unreachable(address: str) -> str | None:
    """Why no connection to the server of an http or https address is made within `CONNECT_SECONDS`; None if one is."""
    parts = urlparse(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return reason(error)
    return None
