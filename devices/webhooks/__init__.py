"""Telling other systems what happens, by signed HTTP POSTs, as Standard Webhooks describe.

`outbox` writes an event down in its own transaction, `deliver` sends it, `expiring` finds certificates that will
expire, `service` keeps the webhooks themselves.
"""
