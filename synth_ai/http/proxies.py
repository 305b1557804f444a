"""The proxy on the way to a server, as the environment or the system names it.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not, are read as
`urllib.request` reads them; on macOS and Windows the system's settings count too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: its address, without credentials.
        authorization: the value of its `Proxy-Authorization` header; None if it wants none.
        is_for_all: whether `ALL_PROXY` names it.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)
    is_for_all: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers by which it knows who calls."""
        if self.authorization is None:
            return {}
        return {"Proxy-Authorization": self.authorization}

    @property
    def scheme(self) -> str:
        """How it is talked to: `http`, `https`, `socks5` and so on."""
        return urlsplit(self.url).scheme


def find_proxy(base_url: str) -> Proxy | None:
    """Find the proxy on the way to a server; None if there is none, or `NO_PROXY` says so."""
    server = urlsplit(base_url)
    proxies = getproxies()
    address = proxies.get(server.scheme)
    address_for_all = proxies.get("all")
    if not address and not address_for_all:
        return None
    if _is_bypassed(server, proxies):
        return None

    if address:
        return _read_proxy(address)
    return _read_proxy(address_for_all or "", is_for_all=True)


def _read_proxy(address: str, *, is_for_all: bool = False) -> Proxy:
    """Read the address of a proxy.

    - `http://me:secret@proxy:3128` -> `http://proxy:3128`, with `Basic bWU6c2VjcmV0`
    - `proxy:3128` -> `http://proxy:3128`
    """
    if "://" not in address:
        address = f"http://{address}"
    parts = urlsplit(address)

    authorization = None
    if parts.username is not None or parts.password is not None:
        name = unquote(parts.username or "")
        password = unquote(parts.password or "")
        authorization = "Basic " + b64encode(f"{name}:{password}".encode()).decode()

    host = parts.netloc.rpartition("@")[2]
    return Proxy(f"{parts.scheme}://{host}", authorization, is_for_all)


def _is_bypassed(server: SplitResult, proxies: Mapping[str, str]) -> bool:
    """Tell whether `NO_PROXY` names a server.

    By its name or the end of it, by host and port, or by an address or the network that it is in:
    `localhost`, `.internal`, `10.0.0.7:8000`, `::1`, `192.168.0.0/16`, `*`.
    """
    if proxy_bypass(server.netloc):
        return True

    try:
        address = ip_address(server.hostname or "")
    except ValueError:
        return False

    for entry in proxies.get("no", "").split(","):
        try:
            network = ip_network(entry.strip().strip("[]"), strict=False)
        except ValueError:
            continue
        if address in network:
            return True

    return False
