"""What a delivery says of itself on the device's page: what was expected, what came, and what to do."""

from __future__ import annotations

from django.utils.translation import gettext_noop

NEVER_ENDED = gettext_noop(
    "The delivery was begun several times and never brought to an end. Look into the logs of the workers."
)
OUTSIDE_WINDOW = gettext_noop("Waits for the maintenance window of the device's group.")
LOST = gettext_noop(
    "The connection broke after the key was sent, so the device may have taken it. It is looked at before the key "
    "is sent again."
)
RESTARTING = gettext_noop("The device has the key and restarts before the certificate is looked at.")
SETTLES = gettext_noop(
    "The device took the key. Such devices need a while until they serve the certificate, so it is looked at then."
)
SERVES_ANOTHER = gettext_noop(
    "The device said that it took the key, and still serves another certificate. It is looked at again."
)
RESTART_BY_HAND = gettext_noop(
    "The device has the key and does not use it yet. Restart the device by hand: nothing here can do that. The "
    "certificate is looked for every 15 minutes, for a week; after that the old key is brought back."
)
USED_AFTER_RESTART = gettext_noop(
    "Restart the device by hand, so that it uses the key: nothing here can do that, and no handshake shows it."
)
AWAY_SINCE = gettext_noop(
    "The device took the key and has not answered since. The certificate is verified as soon as it does."
)
NEVER_SEEN_AGAIN = gettext_noop(
    "The device took the key and has not answered for a week, so the certificate was never seen. Look at the device "
    "itself: is it switched on, does it show an error, has its address changed? The key is kept; deliver it again."
)
NOT_SERVED = gettext_noop(
    "The device said that it took the key, and went on serving another certificate. Bringing the old key back."
)
BROUGHT_BACK = gettext_noop(
    "The device said that it took the key, and went on serving another certificate, so the old key was brought back "
    "and is in use. The new key is kept. Look at the device whether it has to restart or its TLS settings name "
    "another key, then deliver it again."
)
NOT_BROUGHT_BACK = gettext_noop(
    "The device said that it took the key, and serves neither the new certificate nor the old one, which could not "
    "be brought back either. Both keys are kept. Look at the device itself, then deliver the key again."
)
NO_FORMER = gettext_noop(
    "The device said that it took the key, and went on serving another certificate. There is no old key from here to "
    "bring back. Look at the device whether it has to restart or its TLS settings name another key, then deliver "
    "it again."
)
SERVED_IN_PART = gettext_noop(
    "One TLS port of the device serves the certificate, and another one does not. Look at the device's TLS settings, "
    "or at its TLS ports in its data here."
)
NOT_REMOVED = gettext_noop("The old key could not be deleted from the device. Delete it there.")
