"""The Django app of the dashboard."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Pages for people; everything they do goes through the services in `devices`."""

    name = "fleet.dashboard"
    label = "dashboard"
