"""What the walk over a device's web pages says when it does not get on: what was expected, what came, and what to do.

`step` is the name of a step of the profile; those of the built-in ones are `STEP_NAMES`.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop

from devices.texts import Sentence

TOO_LARGE = Sentence(
    gettext_noop(
        "%(kind)s was reported to take at most %(most)s bytes; key and certificate are %(size)s. Take a shorter key, "
        "or a CA that writes shorter certificates."
    ),
    words=["kind"],
)
NO_NEW_ONE = Sentence(
    gettext_noop(
        "After the import one more certificate was expected in the device's list; it is not there (at “%(step)s”). "
        "Look at the list on the device's own page."
    ),
    words=["step"],
)
TOOK_TOO_LONG = gettext_noop(
    "The device's web pages took longer than they may all together. It may have taken the key all the same."
)
LEADS_AWAY = gettext_noop(
    "The device's web page leads to another address, which is not followed. Check the port in the connector's "
    "settings."
)
NOT_SAID = Sentence(
    gettext_noop(
        "At “%(step)s” the device was expected to say that it is done; it answered with HTTP status %(status)s: "
        "“%(said)s”. Whether it took the key, the certificate that it serves will show."
    ),
    words=["step"],
)
NO_ROOM = Sentence(
    gettext_noop(
        "The device has no room for another certificate; it says “%(said)s”. Delete one that is not used on the "
        "device's own page, then deliver again."
    )
)
NOT_TAKEN = Sentence(
    gettext_noop(
        "The device did not take it at “%(step)s”; it says “%(said)s”. Look at the device's own page whether it "
        "takes this kind of key."
    ),
    words=["step"],
)
NO_FIELDS = Sentence(
    gettext_noop(
        "At “%(step)s” (%(path)s) the fields %(fields)s were expected on the device's page; they are not there. The "
        "kind of device in the connector's settings may not be this one."
    ),
    words=["step"],
)
NOT_SIGNED_IN = Sentence(
    gettext_noop(
        "The device did not accept the user name and password at “%(step)s”. Correct them in the connector's "
        "settings."
    ),
    words=["step"],
)
NOT_SIGNED_IN_SAYING = Sentence(
    gettext_noop(
        "The device did not accept the user name and password at “%(step)s”; it says “%(said)s”. Correct them in the "
        "connector's settings."
    ),
    words=["step"],
)

NO_SERIAL_NUMBERS = gettext_noop(
    "The device was expected to show the serial numbers of its certificates; its pages show none. Set the language "
    "of its pages to English, or delete the old certificate on the device's own page."
)
NOT_SURE = Sentence(
    gettext_noop(
        "One certificate in the device's list was expected to be the old one, with the serial number %(serial)s and "
        "its issuer; that cannot be told for sure, so none was deleted. Delete it on the device's own page."
    )
)
IN_USE = Sentence(
    gettext_noop(
        "The old certificate, number %(number)s in the device's list, is still chosen for its web pages, so it was "
        "not deleted. Choose the new one on the device's own page, then delete the old one."
    )
)
STILL_THERE = Sentence(
    gettext_noop(
        "The certificate with the number %(number)s was expected to be gone from the device's list; it is still "
        "there. Look at the list on the device's own page."
    )
)

STEP_NAMES = frozenset(
    {
        gettext_noop("sign-in page"),
        gettext_noop("sign in"),
        gettext_noop("page with the form"),
        gettext_noop("upload"),
        gettext_noop("certificate page"),
        gettext_noop("import page"),
        gettext_noop("import"),
        gettext_noop("list of certificates before"),
        gettext_noop("list of certificates after"),
        gettext_noop("page of the web server's certificate"),
        gettext_noop("choose the certificate"),
        gettext_noop("confirm"),
        gettext_noop("list of certificates"),
        gettext_noop("page of the deletion"),
        gettext_noop("delete"),
    }
)
