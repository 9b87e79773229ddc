"""API tokens: hashed at rest, narrowed by scopes, ended by time; and the tokens of before go on working."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import access, migrations, tokens
from devices.access import ROLES, SCOPES, Limits, Permission, may, may_look
from devices.audit import Actor
from devices.models import ApiToken, AuditEvent
from devices.models.choices import ScopeChoices

pytestmark = pytest.mark.django_db


def issued(actor: Actor, *scopes: str, expires_at: datetime | None = None) -> str:
    return tokens.issue(actor, name="CMDB", scopes=list(scopes), expires_at=expires_at)[1]


def using(token: str) -> Actor:
    user = tokens.user_of(token, timezone.now())
    assert user is not None
    return Actor.of(user, AuditEvent.Source.API)


class TestAtRest:
    def test_nothing_stored_opens_anything(self, actor: Actor) -> None:
        token = issued(actor, "full")
        row = ApiToken.objects.get()
        stored = [str(getattr(row, field.name)) for field in row._meta.fields]
        assert not [text for text in stored if token in text or token[4:] in text]
        assert len(token) >= 40
        assert tokens.user_of(row.digest, timezone.now()) is None
        assert token not in str(list(AuditEvent.objects.values_list("changes", flat=True)))

    def test_issuing_and_revoking_are_on_record(self, actor: Actor) -> None:
        token = issued(actor, "read", "devices")
        tokens.revoke(actor, ApiToken.objects.get())
        events = AuditEvent.objects.order_by("pk").values_list("action", "target_name")
        assert list(events) == [("apitoken.create", "CMDB"), ("apitoken.revoke", "CMDB")]
        assert tokens.user_of(token, timezone.now()) is None


class TestScopes:
    def test_every_permission_is_in_full_and_in_one_scope_besides(self) -> None:
        assert set(SCOPES) == set(ScopeChoices.values)
        for permission in Permission:
            holders = sorted(scope for scope, held in SCOPES.items() if permission in held)
            assert len(holders) == 2, f"{permission} belongs into one scope of devices/access.py"
            assert "full" in holders

    def test_they_narrow_what_the_user_may(self, actor: Actor) -> None:
        for scope, held in SCOPES.items():
            user = using(issued(actor, scope)).user
            assert user is not None
            assert {permission for permission in Permission if may(user, permission)} == held
            assert may_look(user) == (scope in {"full", "read"})

    def test_they_never_add_to_it(self, operator: User, viewer: User) -> None:
        for person, permitted in ((operator, ROLES["Operator"]), (viewer, frozenset())):
            everything = [scope.value for scope in ScopeChoices]
            user = using(issued(Actor.of(person, AuditEvent.Source.API), *everything)).user
            assert user is not None
            assert {permission for permission in Permission if may(user, permission)} == permitted

    def test_a_superuser_is_narrowed_too(self) -> None:
        root = User.objects.create_superuser("root")
        user = using(issued(Actor.of(root, AuditEvent.Source.API), "devices")).user
        assert user is not None
        assert not may(user, Permission.CHANGE_SCEP_SETTINGS)
        with pytest.raises(PermissionDenied, match="settings"):
            access.require(Actor.of(user, AuditEvent.Source.API), Permission.CHANGE_SCEP_SETTINGS)

    def test_a_scope_that_is_no_more_permits_nothing(self, administrator: User) -> None:
        access.narrow(administrator, Limits(1, frozenset({"former"}), None))
        assert not any(may(administrator, permission) for permission in Permission)

    @pytest.mark.parametrize("scopes", [[], ["paint"], ["read", "read"], ["read", "paint"]])
    def test_others_are_refused(self, actor: Actor, scopes: list[str]) -> None:
        with pytest.raises(ValidationError) as refused:
            tokens.issue(actor, name="x", scopes=scopes)
        assert set(refused.value.message_dict) == {"scopes"}


class TestReach:
    """A token in the wrong hands makes nothing that is worse than itself."""

    def test_within_its_scopes(self, actor: Actor) -> None:
        narrow = using(issued(actor, "read", "devices"))
        issued(narrow, "read")
        for scopes in (["full"], ["settings"], ["read", "requests"]):
            with pytest.raises(PermissionDenied):
                issued(narrow, *scopes)

    def test_within_its_time(self, actor: Actor) -> None:
        ends = timezone.now() + timedelta(days=1)
        short = using(issued(actor, "full", expires_at=ends))
        issued(short, "read", expires_at=ends)
        for later in (None, ends + timedelta(seconds=1)):
            with pytest.raises(PermissionDenied):
                issued(short, "read", expires_at=later)

    def test_it_revokes_itself_and_with_full_scope_others(self, actor: Actor) -> None:
        first, second = issued(actor, "read"), issued(actor, "full")
        rows = list(ApiToken.objects.order_by("pk"))
        with pytest.raises(PermissionDenied):
            tokens.revoke(using(first), rows[1])
        tokens.revoke(using(first), rows[0])
        tokens.revoke(using(second), rows[1])
        assert not ApiToken.objects.exists()

    def test_nobody_revokes_anybody_elses(self, actor: Actor, viewer: User) -> None:
        issued(actor, "read")
        with pytest.raises(PermissionDenied):
            tokens.revoke(Actor.of(viewer, AuditEvent.Source.API), ApiToken.objects.get())


class TestTime:
    def test_it_ends_at_its_moment(self, actor: Actor) -> None:
        ends = timezone.now() + timedelta(hours=1)
        token = issued(actor, "read", expires_at=ends)
        assert tokens.user_of(token, ends - timedelta(seconds=1)) == actor.user
        assert tokens.user_of(token, ends) is None

    def test_it_does_not_begin_when_it_has_ended(self, actor: Actor) -> None:
        with pytest.raises(ValidationError) as refused:
            issued(actor, "read", expires_at=timezone.now())
        assert set(refused.value.message_dict) == {"expires_at"}

    def test_its_use_is_noted_at_most_once_a_minute(self, actor: Actor) -> None:
        token, now = issued(actor, "read"), timezone.now()
        queries = []
        for seconds in (0, 59, 60):
            with CaptureQueriesContext(connection) as captured:
                tokens.user_of(token, now + timedelta(seconds=seconds))
            queries.append(len(captured))
        assert queries == [2, 1, 2]
        assert ApiToken.objects.get().last_used_at == now + timedelta(seconds=60)


def test_exchanged_ones_do_not_pile_up(actor: Actor, viewer: User) -> None:
    others = Actor.of(viewer, AuditEvent.Source.API)
    theirs, own = tokens.exchange(others), issued(actor, "read")
    made = [tokens.exchange(actor) for _ in range(tokens.MOST_EXCHANGED + 2)]
    work = [tokens.user_of(token, timezone.now()) is not None for token in (*made, theirs, own)]
    assert work == [False, False] + [True] * (tokens.MOST_EXCHANGED + 2)


def test_the_tokens_of_rest_framework_go_on_working(administrator: User) -> None:
    (name,) = [
        name for _, name, _ in pkgutil.iter_modules(migrations.__path__) if name.endswith("_api_tokens")
    ]
    migration: Any = importlib.import_module(f"devices.migrations.{name}")
    made = timezone.now() - timedelta(days=400)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE authtoken_token (key varchar(40) PRIMARY KEY, created timestamp with time zone NOT NULL, "
            "user_id integer NOT NULL UNIQUE)"
        )
        stored = connection.ops.adapt_datetimefield_value(made)
        cursor.execute(
            "INSERT INTO authtoken_token VALUES (%s, %s, %s)", ["ab" * 20, stored, administrator.pk]
        )
    with connection.schema_editor(atomic=False) if connection.vendor != "sqlite" else _Editor() as editor:
        migration.take_over(apps, editor)
        migration.take_over(apps, editor)
    row = ApiToken.objects.get()
    assert (row.scopes, row.expires_at, row.created_at) == (["full"], None, made)
    assert tokens.user_of("ab" * 20, timezone.now()) == administrator
    assert "authtoken_token" not in connection.introspection.table_names()


class _Editor:
    """SQLite's own refuses to begin inside the test's transaction."""

    connection = connection

    def __enter__(self) -> _Editor:
        return self

    def __exit__(self, *_exception: object) -> None: ...

    def execute(self, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
