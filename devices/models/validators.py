"""Checks of single values, shared by every way in: forms, REST, imports and commands."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def is_ip_address(value: str) -> bool:
    """True for an IPv4 or IPv6 address in its textual form."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def validate_host(value: str) -> None:
    """Raise ValidationError unless `value` is an IP address or a host name (RFC 1123)."""
    if is_ip_address(value):
        return
    labels = value.removesuffix(".").split(".")
    # all digits and dots is an address gone wrong, not a name: 192.168.1.300
    if len(value) > 253 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValidationError(
            _("“%(value)s” is neither an IP address nor a host name (FQDN)."), params={"value": value}
        )


def validate_scep_url(value: str) -> None:
    """Raise ValidationError unless `value` is an http or https URL with a host and without a query."""
    try:
        parts = urlsplit(value)
        host = parts.hostname
        _port = parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValidationError(
            _("“%(value)s” is not a SCEP server URL: it starts with http:// or https:// and names a host."),
            params={"value": value},
        )
    validate_host(host)
    if parts.query or parts.fragment or parts.username:
        raise ValidationError(
            _("Leave out everything after “?” or “#” and any user name: only the address of the service.")
        )


def validate_ipsec_destinations(value: Any) -> None:
    """Raise ValidationError unless `value` is a list of different, non-empty names."""
    if (
        not isinstance(value, list)
        or not all(isinstance(name, str) and 0 < len(name) <= 100 for name in value)
        or len(set(value)) != len(value)
    ):
        raise ValidationError(_("Write a list of different names, each 1 to 100 characters long."))


def validate_certificates(value: str) -> None:
    """Raise ValidationError unless `value` holds at least one certificate in PEM and nothing secret."""
    if "PRIVATE KEY" in value:
        raise ValidationError(_("This holds a private key. Paste the certificates alone."))
    try:
        found = x509.load_pem_x509_certificates(value.encode())
    except ValueError:
        found = []
    if not found:
        raise ValidationError(
            _(
                "Paste certificates in PEM, each from “-----BEGIN CERTIFICATE-----” to “-----END CERTIFICATE-----”."
            )
        )


def validate_proxy(value: str) -> None:
    """Raise ValidationError unless `value` is http://host:port."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "http":
        raise ValidationError(
            _("“%(value)s” is not a proxy: write http://, its host and its port."), params={"value": value}
        )
    validate_host(host)
    if parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValidationError(_("Write only http://, host and port: no user name, no path."))


def validate_webhook_url(value: str) -> None:
    """Raise ValidationError unless `value` is an http or https URL with a host, and without a user name."""
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or re.search(r"[^\x21-\x7e]", value):
        raise ValidationError(
            _("“%(value)s” is not a webhook's URL: it starts with http:// or https:// and names a host."),
            params={"value": value},
        )
    validate_host(host)
    if parts.fragment or parts.username is not None:
        raise ValidationError(_("Leave out everything after “#” and any user name."))


MOST_TLS_PORTS = 8


def validate_tls_ports(value: object) -> None:
    """Raise ValidationError unless `value` is a list of 1 to MOST_TLS_PORTS different port numbers."""
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= MOST_TLS_PORTS
        or not all(type(port) is int and 1 <= port <= 65535 for port in value)
        or len(set(value)) != len(value)
    ):
        raise ValidationError(
            _("Write 1 to %(most)s different port numbers, each from 1 to 65535, like [443, 631].")
            % {"most": MOST_TLS_PORTS}
        )
