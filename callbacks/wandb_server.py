"""Weights & Biases without importing it: can its server be reached? Nothing here asks for a key or waits long."""

import netrc
import os
import socket
from urllib.parse import urlparse

from genie.common.errors import UserError

MODES = ("auto", "online", "offline", "disabled")
CONNECT_SECONDS = 3.0
X_AXIS = "trainer/global_step"  # of all curves: Lightning's name for it; counted from 0


def wandb_mode(choice: str) -> str:
    """The mode for wandb. "auto": WANDB_MODE, else online where there is a key and the server answers."""
    if choice not in MODES:
        raise UserError(f"logger.mode={choice} must be one of: {', '.join(MODES)}")
    if choice != "auto":
        return choice
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "offline" if wandb_missing() else "online"


def wandb_missing() -> str | None:
    """What is missing to reach the server, None where nothing is."""
    address = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if not (os.environ.get("WANDB_API_KEY") or _in_netrc(address.hostname)):
        return "key (`wandb login`)"
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return f"connection to {address.hostname} ({error})"
    return None


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
