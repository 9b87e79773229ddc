"""Own tokens in place of those of rest_framework.authtoken, which go on working: their hashes are taken over."""

import hashlib
from datetime import UTC, datetime

import devices.models.token
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.recorder import MigrationRecorder

OLD_TABLE = "authtoken_token"


def take_over(apps, schema_editor):
    """The app is gone, its table is not: read it without its models, and leave nothing of it behind."""
    connection = schema_editor.connection
    if OLD_TABLE not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT key, user_id, created FROM {OLD_TABLE}")
        stored = cursor.fetchall()
    ApiToken = apps.get_model("devices", "ApiToken")
    ApiToken.objects.bulk_create(
        ApiToken(
            user_id=user_id,
            name="auth/token/",
            digest=hashlib.sha256(key.encode()).hexdigest(),
            scopes=["full"],
            created_at=_aware(created),
        )
        for key, user_id, created in stored
    )
    apps.get_model("contenttypes", "ContentType").objects.filter(app_label="authtoken").delete()
    schema_editor.execute(f"DROP TABLE {OLD_TABLE}")
    MigrationRecorder(connection).migration_qs.filter(app="authtoken").delete()


def _aware(moment):
    """SQLite gives the text that Django stored, in UTC and without saying so."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0010_server_connection'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ApiToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='For you to know it by: the system that uses it.', max_length=100, verbose_name='Name')),
                ('digest', models.CharField(editable=False, max_length=64, unique=True)),
                ('scopes', models.JSONField(validators=[devices.models.token.validate_scopes], verbose_name='Scopes')),
                ('created_at', models.DateTimeField(verbose_name='Created')),
                ('expires_at', models.DateTimeField(blank=True, help_text='Leave empty for a token that does not expire.', null=True, verbose_name='Expires')),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='Last used')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_tokens', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'API token',
                'verbose_name_plural': 'API tokens',
                'ordering': ['-id'],
            },
        ),
        migrations.RunPython(take_over, migrations.RunPython.noop),
    ]
