"""What can go wrong between Fleetseal and a device.

Every error answers four questions: is it worth another try (`worth_another_try`), may the device have acted
on what it was sent (`may_have_arrived`), is it the administrator's to mend (`for_administrator`), and, as its text,
what was expected, what came and what the reader can do. No text holds a secret.

Texts are English, for they are stored: marked by `gettext_noop`, or made by a `devices.texts.Sentence` where there
are values in them, and translated for whoever reads them (`devices.texts.localized`).
"""

from __future__ import annotations


class DeliveryError(Exception):
    """Base of all errors of connectors."""

    worth_another_try = False
    may_have_arrived = False
    for_administrator = False
    """Nothing gets better until somebody changes a setting here or something at the device."""


class Unreachable(DeliveryError):
    """No connection: the device has certainly seen nothing."""

    worth_another_try = True


class ConnectionLost(DeliveryError):
    """The connection broke, or no answer came in time, after the request went out."""

    worth_another_try = True
    may_have_arrived = True


class UnexpectedAnswer(DeliveryError):
    """Something answered, but not as this kind of device does: HTML, an error of the server, too much.

    Worth another try, because a device that is just starting often answers so for a while.
    """

    worth_another_try = True
    may_have_arrived = True


class DeviceAway(DeliveryError):
    """The device says that it is restarting, or not ready yet."""

    worth_another_try = True


class DeviceBusy(DeliveryError):
    """The device works on something and did not take the request."""

    worth_another_try = True


class DeviceRefused(DeliveryError):
    """The device understood and said no."""


class KeyStoreFull(DeviceRefused):
    """The device has no room for another key and certificate."""

    for_administrator = True


class WrongPassword(DeliveryError):
    """The device did not accept the user name and password that its connector's settings hold."""

    for_administrator = True


class WrongFingerprint(DeliveryError):
    """The device showed another certificate, or SSH host key, than the one that is pinned.

    Nothing was sent: neither a password nor a key. `seen` is the SHA-256 fingerprint that came, in lower-case
    hexadecimal, or as the protocol writes it; with nothing pinned yet, the one to confirm.
    """

    for_administrator = True

    def __init__(self, message: str, *, seen: str = "") -> None:
        super().__init__(message)
        self.seen = seen


class NotConfirmed(WrongFingerprint):
    """Nothing is pinned yet: somebody has to look at the fingerprint that came, and confirm it."""


class AwaitsPerson(DeliveryError):
    """Somebody has to do it: to fetch the key, for example. It is looked at now and then whether it was done."""

    worth_another_try = True


class NotSupported(DeliveryError):
    """The connector cannot do this to a device."""

    for_administrator = True


class NotConnected(DeliveryError):
    """The device has no connector, its settings do not fit the connector, or its secrets are for another address."""

    for_administrator = True
