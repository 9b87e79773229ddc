"""One PAPPL printer application (Debian's libpappl1) as a process: `pappl_server.py PORT DIRECTORY PASSWORD [form]`.

Made by the Printer Applications' own library, called by ctypes; nothing of it is this project's. Its certificates lie
in `$HOME/.cups/ssl`.
"""

from __future__ import annotations

import base64
import ctypes
import hmac
import sys

MULTI_QUEUE, WEB_INTERFACE, WEB_LOG, WEB_SECURITY, WEB_TLS = 0x2, 0x10, 0x20, 0x100, 0x200
FIELD_AUTHORIZATION = 2  # HTTP_FIELD_AUTHORIZATION in cups/http.h
CONTINUE, UNAUTHORIZED = 100, 401
LOG_INFO = 1


def main(port: int, directory: str, password: str, *, form: bool) -> None:
    """Serve until the process is ended. With an empty password everybody may do everything.

    It is asked for by HTTP Basic, or by PAPPL's own login `form`, which takes any password in this version.
    """
    pappl = ctypes.CDLL("libpappl.so.1")
    cups = ctypes.CDLL("libcups.so.2")
    pappl.papplSystemCreate.restype = ctypes.c_void_p
    pappl.papplSystemCreate.argtypes = [
        *(ctypes.c_uint, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p),
        *(ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_bool),
    ]
    for name in ("papplSystemAddListeners", "papplSystemSetHostName", "papplSystemSetFooterHTML"):
        getattr(pappl, name).argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    pappl.papplSystemRun.argtypes = [ctypes.c_void_p]
    pappl.papplClientGetHTTP.restype = ctypes.c_void_p
    pappl.papplClientGetHTTP.argtypes = [ctypes.c_void_p]
    cups.httpGetField.restype = ctypes.c_char_p
    cups.httpGetField.argtypes = [ctypes.c_void_p, ctypes.c_int]
    expected = b"Basic " + base64.b64encode(b"admin:" + password.encode())

    def is_authorized(client: int, _group: bytes, _gid: int, _data: int) -> int:
        came = cups.httpGetField(pappl.papplClientGetHTTP(client), FIELD_AUTHORIZATION) or b""
        return CONTINUE if hmac.compare_digest(came, expected) else UNAUTHORIZED

    callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p
    )
    authorize = callback(is_authorized)  # kept alive for as long as the system runs
    options = MULTI_QUEUE | WEB_INTERFACE | WEB_LOG | WEB_SECURITY | WEB_TLS
    spool, log = f"{directory}/spool".encode(), f"{directory}/pappl.log".encode()
    system = pappl.papplSystemCreate(options, b"Test printer", port, None, spool, log, LOG_INFO, None, False)
    if not system:
        sys.exit("papplSystemCreate failed")
    if not pappl.papplSystemAddListeners(system, b"127.0.0.1"):
        sys.exit(f"port {port} cannot be had")
    pappl.papplSystemSetHostName(system, b"localhost")
    pappl.papplSystemSetFooterHTML(system, b"<p>Test printer</p>")  # 1.3.1 crashes without one
    if password and form:
        pappl.papplSystemHashPassword.restype = ctypes.c_char_p
        pappl.papplSystemHashPassword.argtypes = [
            *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
        ]
        pappl.papplSystemSetPassword.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        buffer = ctypes.create_string_buffer(100)
        pappl.papplSystemSetPassword(
            system, pappl.papplSystemHashPassword(system, None, password.encode(), buffer, len(buffer))
        )
    elif password:
        pappl.papplSystemSetAuthCallback.argtypes = [
            *(ctypes.c_void_p, ctypes.c_char_p, callback, ctypes.c_void_p),
        ]
        pappl.papplSystemSetAuthCallback(system, b"basic", authorize, None)
    pappl.papplSystemRun(system)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], form=sys.argv[4:] == ["form"])
