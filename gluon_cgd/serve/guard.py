"""Who may ask: the server answers to its own names, to its own page, and elsewhere than on this machine to a token.

A foreign name in Host is that of a page whose name was made to lead here (DNS rebinding). A request of another site is
refused, but for following a link to the page. Without the token nothing is answered but the page that asks for it.
"""

import hashlib
import hmac
import ipaddress
import re
import socket

from gluon_cgd.serve.refusal import Refusal

HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?")
LEAST = 16  # characters of a token
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {  # of every answer
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_local(host):
    """Whether only this machine can reach a server that listens on `host`."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(name):
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


class Guard:
    """Lets requests to a server on `host` pass. token: what they must bring, None on this machine alone."""

    def __init__(self, host, token=None):
        if token is not None and (len(token) < LEAST or not re.fullmatch(r"[\w.~-]+", token, re.ASCII)):
            raise ValueError(f"the token must have {LEAST} or more letters, digits and . _ ~ -: choose another")
        self.local, self._token = is_local(host), token
        self._names = {"localhost"}
        if not self.local:
            self._names |= {name.lower() for name in (host, socket.gethostname(), socket.getfqdn())}

    def check_host(self, host):
        """Raise Refusal unless `host`, of the request, is a name of this server."""
        match = HOST.fullmatch(host or "")
        if not match:
            raise Refusal(400, "the request does not say in Host which server it is for")
        name = match[1].lower().rstrip(".")
        address = _address(name)
        if address is None:
            ours = name in self._names
        else:  # an address cannot be made to lead elsewhere
            ours = address.is_loopback or not (self.local or address.is_unspecified)
        if not ours:
            raise Refusal(421, f"this server is not {match[1][:60]}: open it by the address that it printed")

    def check_site(self, method, path, headers):
        """Raise Refusal for a request that the page of another site makes."""
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        follows_link = (
            method in ("GET", "HEAD")
            and path == "/"
            and headers.get("Sec-Fetch-Mode") == "navigate"
            and headers.get("Sec-Fetch-Dest") == "document"
        )
        foreign = site not in (None, "same-origin", "none") and not follows_link
        if origin is not None and origin.partition("://")[2].lower() != headers.get("Host", "").lower():
            foreign = True
        if foreign:
            raise Refusal(403, "another site asked for this: open the page itself")

    def cookie(self):
        """What the browser keeps in place of the token."""
        return hmac.new(self._token.encode(), b"gluon_cgd serve", hashlib.sha256).hexdigest()

    def is_token(self, text):
        """Whether `text` is the token."""
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())

    def check_token(self, cookie, authorization):
        """Raise Refusal unless one of the two headers of the request shows the token; without a token all may ask."""
        if self._token is None or hmac.compare_digest((cookie or "").encode(), self.cookie().encode()):
            return
        kind, _, text = (authorization or "").partition(" ")
        if not (kind.lower() == "bearer" and self.is_token(text.strip())):
            raise Refusal(401, "this server needs its token: open the address with ?token= that it printed")
