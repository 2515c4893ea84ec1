"""How safely a host is spoken to: with TLS or without, whose certificates are trusted, and through which proxy."""

import ipaddress
import os
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from onnxpack.core.errors import EngineError, flatten_words

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where Docker keeps certificates: ``HOST/*.crt`` of authorities, ``HOST/NAME.cert`` with ``NAME.key`` of clients."""
INSECURE = "ONNXPACK_INSECURE_REGISTRIES"
"""The variable with hosts, separated by commas, that may speak plain HTTP."""


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine: ``localhost``, 127.0.0.0/8 or ``::1``."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def may_be_plain(host: str) -> bool:
    """Return whether a registry may be spoken to without TLS: it is this machine, or whoever builds named it."""
    named = [word.strip() for word in os.environ.get(INSECURE, "").split(",")]
    return is_loopback(host) or host in named


def find_proxy(parts: SplitResult) -> str | None:
    """Return the proxy that the environment names for a host; none for this machine, as for Docker."""
    if is_loopback(parts.netloc) or urllib.request.proxy_bypass(parts.netloc):
        return None
    found = urllib.request.getproxies()
    return found.get(parts.scheme) or found.get("all")


def make_context(host: str) -> ssl.SSLContext:
    """Return what is trusted of a host: the authorities of this machine or ``SSL_CERT_FILE``, and Docker's for it.

    Raises:
        EngineError: a file that Docker keeps for it is no certificate.
    """
    context = ssl.create_default_context()
    folder = CERTIFICATES / host
    for path in sorted(folder.glob("*.c*rt")) if folder.is_dir() else ():
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
        except OSError as error:  # ssl's errors are such
            hint = "put a certificate in PEM there, the key of a .cert beside it, or remove the file"
            raise EngineError(f"'{path}' cannot be used: {flatten_words(error, 200)}", hint) from None
    return context
