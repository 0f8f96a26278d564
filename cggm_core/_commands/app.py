"""`app`: the pages, in a browser on this machine."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from cggm_core.errors import ConfigError, LaunchError

FIRST_PORT, LAST_PORT = 8501, 8600
_ANY = ("0.0.0.0", "::")
HOME = Path(__file__).resolve().parents[2]


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser("app", parents=[common], help="start the app", allow_abbrev=False)
    parser.add_argument(
        "--port", type=int, default=None, metavar="N", help=f"default: the first free one from {FIRST_PORT}"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    parser.add_argument(
        "--open-to-network", action="store_true",
        help="allow an address that other machines reach; anyone there can then start and stop trainings",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Start the app and stay until it ends."""
    script = HOME / "app.py"
    if not script.is_file():
        raise LaunchError(f"the app is not installed: {script} is missing; start it from a clone of the project")
    check_host(given.host, given.open_to_network)
    port = free_port(given.host) if given.port is None else checked_port(given.host, given.port)
    print(f"CGGM Lab: http://{_for_browser(given.host)}:{port}", flush=True)
    command = [
        sys.executable, "-m", "streamlit", "run", str(script),
        "--server.address", given.host, "--server.port", str(port), "--server.headless", "true",
    ]  # fmt: skip
    if given.open_to_network:
        # The list that is shipped admits this machine's own names only.
        command += ["--server.allowedHosts", "*" if given.host in _ANY else given.host]
    environment = {**os.environ, "CGGM_RUNS": str(given.runs.resolve())}
    # Asked to end by a service manager or by `kill`, the command takes the server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen(command, cwd=HOME, env=environment) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            return 0


def check_host(host: str, allowed: bool) -> None:
    """See that other machines cannot reach the app unless the user said so.

    Raises:
        ConfigError: if they could; the message names the flag.
    """
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not allowed:
        raise ConfigError(
            f"on {host} other machines reach the app and can start trainings here; take 127.0.0.1, "
            "or add --open-to-network if you want that"
        )


def checked_port(host: str, port: int) -> int:
    """The port, if it is free.

    Raises:
        ConfigError: if it is no port of ours.
        LaunchError: if another program holds it.
    """
    if not 1 <= port <= 65_535:
        raise ConfigError(f"a port is a number from 1 to 65535, not {port}")
    if problem := _why_not(host, port):
        raise LaunchError(
            f"port {port} on {host} cannot be used ({problem}); end the program that holds it, "
            "or choose another with --port"
        )
    return port


def free_port(host: str) -> int:
    """The first free port.

    Raises:
        LaunchError: if there is none in the range.
    """
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if not (problem := _why_not(host, port)):
            return port
    raise LaunchError(
        f"no port from {FIRST_PORT} to {LAST_PORT} on {host} can be used ({problem}); choose one with --port"
    )


def _why_not(host: str, port: int) -> str:
    """Why the server could not listen there; "" if it could."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server does: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _for_browser(host: str) -> str:
    shown = "127.0.0.1" if host in _ANY else host
    return f"[{shown}]" if ":" in shown else shown
