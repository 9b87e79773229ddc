"""What is stored, and the invariants that the database itself keeps."""

from devices.models.audit import AuditEvent
from devices.models.deployment import Deployment
from devices.models.device import Device
from devices.models.discovery import DeviceSearch, FoundDevice
from devices.models.group import DeviceGroup
from devices.models.idempotency import IdempotentRequest
from devices.models.issuance import LOG_LINES, IssuanceRequest
from devices.models.job import Job, JobItem, JobPart
from devices.models.keystore import KeyAndCertificate
from devices.models.parameters import PARAMETER_FIELDS, KeyAndCertificateParameters
from devices.models.restart import RESTARTS_KEPT, Restart
from devices.models.restart_settings import RestartSettings
from devices.models.scep_server import AllowanceUse, ScepServer
from devices.models.scep_settings import ScepSettings
from devices.models.template import SettingsTemplate
from devices.models.token import ApiToken
from devices.models.transfer import Import, ImportPart, ImportRow
from devices.models.webhook import ExpiryNotice, Webhook, WebhookDelivery

__all__ = [
    "LOG_LINES",
    "PARAMETER_FIELDS",
    "RESTARTS_KEPT",
    "AllowanceUse",
    "ApiToken",
    "AuditEvent",
    "Deployment",
    "Device",
    "DeviceGroup",
    "DeviceSearch",
    "ExpiryNotice",
    "FoundDevice",
    "IdempotentRequest",
    "Import",
    "ImportPart",
    "ImportRow",
    "IssuanceRequest",
    "Job",
    "JobItem",
    "JobPart",
    "KeyAndCertificate",
    "KeyAndCertificateParameters",
    "Restart",
    "RestartSettings",
    "ScepServer",
    "ScepSettings",
    "SettingsTemplate",
    "Webhook",
    "WebhookDelivery",
]
