"""What each kind of job does, and what its parameters must be.

To add a kind: a value in `JobKindChoices`, and an entry in KINDS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from devices import templates
from devices.access import Permission
from devices.audit import Actor
from devices.delivery import deploy, restart
from devices.enrollment import moving, requests
from devices.models import Device, ScepServer, SettingsTemplate
from devices.models.choices import JobKindChoices
from devices.models.job import Job, Progress
from devices.secrets import SecretUnreadable
from devices.templates import Snapshot
from devices.transfer import apply, check

Perform = Callable[[Actor, Device, Mapping[str, Any]], str]
"""Does it, by a service that checks and audits; returns a note for the result, mostly empty.

Raises what services raise: ValidationError, Conflict, PermissionDenied. Called inside a transaction.
"""


def _never(_parameters: Mapping[str, Any]) -> bool:
    return False


def _nothing(_of: object) -> None:
    pass


Steps = Callable[[Actor, Mapping[str, Any]], Iterator[Progress]]
"""Does a job that goes by steps of its own, given the job's parameters. The engine makes each step a transaction
that holds the job: a worker that is killed leaves no step half done. Called anew after that, it goes on with what
the database says is left. Raises PermissionDenied, which ends the job.
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: it goes device by device (`perform`), or by steps of its own (`steps`)."""

    permission: Permission
    perform: Perform | None
    check: Callable[[Mapping[str, Any]], object]
    """Raises ValidationError, by field, for parameters that no device could take; before the job exists."""
    secret: frozenset[str] = frozenset()
    """Names of parameters that are stored encrypted."""
    freeze: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    """What the job keeps of checked parameters, and what `perform` gets: they do not change while it runs."""
    steps: Steps | None = None
    is_whole: Callable[[Mapping[str, Any]], bool] = _never
    """True when all steps are one transaction, which is withdrawn when any of them refuses anything."""
    refuse: Callable[[Mapping[int, str]], None] = _nothing
    """Keeps why a job was withdrawn: the refusals of its steps."""
    ended: Callable[[Job], None] = _nothing
    """Cleans up when the job has ended, whatever the end, in the transaction that ends it."""


def _send_request(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
    requests.request_certificate(actor, device, ring=False, **parameters)
    return ""


def _template(parameters: Mapping[str, Any]) -> SettingsTemplate:
    """The template that is to be applied. Raises ValidationError when there is none."""
    found = SettingsTemplate.objects.select_related("server").filter(pk=parameters["template"]).first()
    if found is None:
        raise ValidationError({"template": _("There is no such template.")})
    return found


def _freeze_template(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the template sets when the job is started; it may be changed while the job runs."""
    template = _template(parameters)
    try:
        snapshot = Snapshot.of(template)
    except SecretUnreadable as error:
        raise ValidationError({"template": str(error)}) from error
    return {
        "template": template.pk,
        "template_name": template.name,
        "settings": snapshot.settings,
        "challenge_password": snapshot.challenge_password,
        "suspend_timers": bool(parameters.get("suspend_timers")),
    }


def _apply_template(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
    settings = parameters["settings"]
    server = ScepServer.objects.filter(pk=settings["server"]).first() if "server" in settings else None
    if "server" in settings and server is None:
        raise ValidationError({"server": _("The template's SCEP server was deleted meanwhile.")})
    snapshot = Snapshot(settings, server, parameters.get("challenge_password", ""))
    if templates.apply(actor, device, snapshot, suspend_timers=parameters["suspend_timers"]):
        return ""
    return _("Nothing changed: the device had these settings already.")


def _move_start(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
    """The very time that devices/spread.py proposed, unless the device has changed since."""
    seen = moving.Seen(
        server_id=parameters["server"],
        request_at=datetime.fromisoformat(parameters["request_at"]),
        offset_seconds=parameters["offset_seconds"],
    )
    moving.move_start(actor, device, datetime.fromisoformat(parameters["request_start_at"]), seen=seen)
    return ""


def _made_by_the_program(_parameters: Mapping[str, Any]) -> None:
    """Nobody enters them."""


def _restart(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
    restart.request_restart(actor, device, ring=False)
    return ""


def _deliver(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
    made = deploy.request_deliveries(actor, device, ring=False)
    return _("Delivered soon: %(keys)s.") % {"keys": ", ".join(row.key.name for row in made)}


def _no_parameters(parameters: Mapping[str, Any]) -> None:
    if parameters:
        names = ", ".join(parameters)
        raise ValidationError({"parameters": _("This kind of job takes no parameters: %s.") % names})


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        JobKindChoices.MANUAL_REQUEST.value: Kind(
            permission=Permission.ADD_ISSUANCE_REQUEST,
            perform=_send_request,
            check=requests.check_parameters,
            secret=frozenset({"challenge_password"}),
        ),
        JobKindChoices.APPLY_TEMPLATE.value: Kind(
            permission=Permission.CHANGE_SCEP_SETTINGS,
            perform=_apply_template,
            check=_template,
            secret=frozenset({"challenge_password"}),
            freeze=_freeze_template,
        ),
        JobKindChoices.SPREAD.value: Kind(
            permission=Permission.CHANGE_SCEP_SETTINGS,
            perform=_move_start,
            check=_made_by_the_program,
        ),
        JobKindChoices.RESTART.value: Kind(
            permission=Permission.RESTART_DEVICE,
            perform=_restart,
            check=_no_parameters,
        ),
        JobKindChoices.DELIVER.value: Kind(
            permission=Permission.DEPLOY_DEVICE,
            perform=_deliver,
            check=_no_parameters,
        ),
        JobKindChoices.CHECK_IMPORT.value: Kind(
            permission=Permission.ADD_DEVICE,
            perform=None,
            check=_nothing,
            steps=check.steps,
            ended=check.ended,
        ),
        JobKindChoices.APPLY_IMPORT.value: Kind(
            permission=Permission.ADD_DEVICE,
            perform=None,
            check=_nothing,
            steps=apply.steps,
            is_whole=lambda parameters: not parameters["good_rows_only"],
            refuse=apply.refuse,
            ended=apply.ended,
        ),
    }
)
