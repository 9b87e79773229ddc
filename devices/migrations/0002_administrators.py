"""The group whose members may change things (R1); devices/access.py asks for it by this name."""

from django.db import migrations


def create_group(apps, schema_editor):
    apps.get_model("auth", "Group").objects.get_or_create(name="Administrator")


class Migration(migrations.Migration):
    dependencies = [("devices", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]

    operations = [migrations.RunPython(create_group, migrations.RunPython.noop, elidable=False)]
