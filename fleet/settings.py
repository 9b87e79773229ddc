"""Django's settings, derived from the environment (fleet/env.py) and nothing else."""

from __future__ import annotations

import sys
from typing import Any

from django.utils.translation import gettext_lazy as _

from fleet import env

ENV = env.read()

BASE_DIR = env.BASE_DIR
DATA_DIR = ENV.data_dir
SECRET_KEY = ENV.secret_key
ENCRYPTION_KEYS = ENV.encryption_keys
DEBUG = ENV.debug
ALLOWED_HOSTS = list(ENV.allowed_hosts)
PROXIES = ENV.proxies
CSRF_TRUSTED_ORIGINS = list(ENV.csrf_trusted_origins)

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_filters",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "devices.apps.DevicesConfig",
    "fleet.dashboard.apps.DashboardConfig",
]

MIDDLEWARE = [
    "fleet.health.HealthMiddleware",
    "fleet.security.ClientAddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "fleet.logging.RequestIdMiddleware",
    "devices.api.problems.ProblemMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # R1: nobody sees anything without signing in; views that are public say so
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "fleet.security.ContentSecurityPolicyMiddleware",
    "devices.api.conditional.ETagMiddleware",
    "devices.api.idempotency.IdempotencyMiddleware",
]

ROOT_URLCONF = "fleet.urls"
WSGI_APPLICATION = "fleet.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "fleet.dashboard.context.dashboard",
            ],
        },
    },
]

DATABASES = {"default": ENV.database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "start"
LOGOUT_REDIRECT_URL = "sign-in"

LANGUAGE_CODE = ENV.language
LANGUAGES = [("en", _("English")), ("pt-br", _("Brazilian Portuguese"))]
LOCALE_PATHS = [BASE_DIR / "fleet" / "locale"]
TIME_ZONE = ENV.time_zone
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
# third-party assets, built from the locked fleet/assets/package.json by `make assets`
ASSETS_DIR = DATA_DIR / "assets"
STATICFILES_DIRS = [ASSETS_DIR] if ASSETS_DIR.is_dir() else []

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENV.https
SECURE_HSTS_SECONDS = 31_536_000 if ENV.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENV.https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.https else None
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "devices.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["devices.api.permissions.MayChange"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
    ],
    "DEFAULT_PAGINATION_CLASS": "devices.api.pagination.Pagination",
    "DEFAULT_RENDERER_CLASSES": ["devices.api.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["devices.api.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "devices.api.schema.Schema",
    "EXCEPTION_HANDLER": "devices.api.errors.handle",
    "DEFAULT_THROTTLE_CLASSES": ["devices.api.throttling.TokenRateThrottle"],
    # the sign-in is the one thing that a stranger may try
    "DEFAULT_THROTTLE_RATES": {"sign-in": "30/min"},
    # fleet.security.ClientAddressMiddleware has settled who the client is; a header does not say it again
    "NUM_PROXIES": 0,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Fleetseal",
    "DESCRIPTION": "Certificates for a fleet of multi-function printers, over SCEP.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "devices.api.schema.describe_alike",
    ],
    "TAGS": [
        {"name": "auth", "description": "Tokens: for a password, and your own."},
        {"name": "overview", "description": "The fleet at a glance."},
        {
            "name": "devices",
            "description": "Devices, their SCEP settings, status log, keys and certificates.",
        },
        {"name": "connectors", "description": "How this server talks to devices, and what it is to be told."},
        {"name": "device-searches", "description": "Searches of address ranges for devices."},
        {"name": "found-devices", "description": "What searches found, proposed for adding."},
        {"name": "device-groups", "description": "Time zones and maintenance windows; spreading a group."},
        {"name": "scep-servers", "description": "Communication settings and allowances."},
        {"name": "settings-templates", "description": "Named sets of settings for many devices."},
        {"name": "jobs", "description": "One action over many devices."},
        {"name": "imports", "description": "Files of devices, checked and then applied."},
        {"name": "exports", "description": "Files of devices, status logs and certificates."},
        {"name": "deployments", "description": "How far keys are on their way to their devices."},
        {"name": "forecast", "description": "The load that SCEP servers have to expect."},
        {"name": "webhooks", "description": "Other systems that are told what happens."},
        {"name": "audit-events", "description": "Who did what to what, when, from where."},
    ],
    "ENUM_NAME_OVERRIDES": {
        "RowOutcomeEnum": "devices.models.choices.RowOutcomeChoices",
        "PreviewOutcomeEnum": "devices.templates.Outcome",
        "ItemStateEnum": "devices.models.choices.JobItemStateChoices",
        "DeploymentStateEnum": "devices.models.choices.DeploymentStateChoices",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

API_RATE = ENV.api_rate
SWEEP_INTERVAL = ENV.sweep_interval

_COUNTERS = ENV.broker_url.replace("redis+socket://", "unix://", 1)
CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # what all web processes count together; where there is no Redis, each counts for itself
    "counters": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": _COUNTERS,
        "KEY_PREFIX": "fleetseal",
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
    }
    if _COUNTERS.startswith(("redis://", "rediss://", "unix://"))
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "counters"},
}

DISPATCH_TICK_SECONDS = ENV.tick_seconds
DISPATCH_LEASE_SECONDS = ENV.lease_seconds

CELERY_BROKER_URL = ENV.broker_url
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a broker that comes back is found again, however late
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    # The queue is a doorbell: what is lost rings again when its lease has run out, so nothing is gained by giving
    # unacknowledged messages back. And kombu 5.7 ends a worker that tries to when the broker died under it
    # (AttributeError in restore_unacked_once).
    "ack_emulation": False,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    # whoever rings does not wait for a broker that is away: the tick comes anyway
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}
if ENV.broker_url.startswith("filesystem:"):
    # where no Redis or Valkey can be had: slower, one machine only, and enough for a small fleet
    _QUEUE = DATA_DIR / "queue"
    for _folder in ("messages", "control"):
        (_QUEUE / _folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_QUEUE / "messages"),
        "data_folder_out": str(_QUEUE / "messages"),
        "control_folder": str(_QUEUE / "control"),
    }
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "dispatch-due-requests": {
        "task": "devices.tasks.dispatch_due",
        "schedule": DISPATCH_TICK_SECONDS,
        # after an outage one tick does the work of all that were missed
        "options": {"expires": max(10.0, 5 * DISPATCH_TICK_SECONDS)},
    },
    "clean-imports": {
        "task": "devices.tasks.clean_imports",
        "schedule": 3600.0,
        "options": {"expires": 3000.0},
    },
    "claim-due-jobs": {
        "task": "devices.tasks.claim_due_jobs",
        "schedule": DISPATCH_TICK_SECONDS,
        "options": {"expires": max(10.0, 5 * DISPATCH_TICK_SECONDS)},
    },
    "claim-due-searches": {
        "task": "devices.tasks.claim_due_searches",
        "schedule": DISPATCH_TICK_SECONDS,
        "options": {"expires": max(10.0, 5 * DISPATCH_TICK_SECONDS)},
    },
    "dispatch-due-restarts": {
        "task": "devices.tasks.dispatch_restarts",
        "schedule": DISPATCH_TICK_SECONDS,
        "options": {"expires": max(10.0, 5 * DISPATCH_TICK_SECONDS)},
    },
    "claim-due-webhooks": {
        "task": "devices.tasks.claim_due_webhooks",
        "schedule": DISPATCH_TICK_SECONDS,
        "options": {"expires": max(10.0, 5 * DISPATCH_TICK_SECONDS)},
    },
    "announce-expiring": {
        "task": "devices.tasks.announce_expiring",
        "schedule": 300.0,
        "options": {"expires": 300.0},
    },
    "clean-up": {"task": "devices.tasks.clean_up", "schedule": 3600.0, "options": {"expires": 3600.0}},
    "dispatch-due-deliveries": {
        "task": "devices.tasks.dispatch_deployments",
        "schedule": DISPATCH_TICK_SECONDS,
        "options": {"expires": max(10.0, 5 * DISPATCH_TICK_SECONDS)},
    },
    "sweep-certificates": {
        "task": "devices.tasks.sweep_certificates",
        "schedule": 30.0,
        "options": {"expires": 60.0},
    },
}

_JSON_LOGS = ENV.log_format == "json" or (ENV.log_format == "auto" and not sys.stderr.isatty())
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"ids": {"()": "fleet.logging.AddIds"}},
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "filters": ["ids"],
            "formatter": "json" if _JSON_LOGS else "text",
        },
    },
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {
        # one line per tick says nothing
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
    },
}
