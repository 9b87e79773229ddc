"""Devices, groups and SCEP servers: added, changed and removed, checked and audited.

Every function raises PermissionDenied when `actor` may not (R1).
"""

from devices.inventory.devices import (
    DELIVERY_FIELDS,
    DEVICE_FIELDS,
    PLACE_FIELDS,
    create_device,
    create_devices,
    delete_device,
    lock_device,
    plan_device,
    store_devices,
    update_device,
)
from devices.inventory.groups import (
    GROUP_FIELDS,
    create_group,
    delete_group,
    held_devices,
    update_group,
)
from devices.inventory.servers import (
    COMMUNICATION_FIELDS,
    SERVER_FIELDS,
    create_server,
    delete_server,
    update_server,
)

__all__ = [
    "COMMUNICATION_FIELDS",
    "DELIVERY_FIELDS",
    "DEVICE_FIELDS",
    "GROUP_FIELDS",
    "PLACE_FIELDS",
    "SERVER_FIELDS",
    "create_device",
    "create_devices",
    "create_group",
    "create_server",
    "delete_device",
    "delete_group",
    "delete_server",
    "held_devices",
    "lock_device",
    "plan_device",
    "store_devices",
    "update_device",
    "update_group",
    "update_server",
]
