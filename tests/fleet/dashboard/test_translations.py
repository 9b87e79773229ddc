"""The catalogs of fleet/locale: complete, certain, and with every placeholder in its place."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_javascript, extract_python
from babel.messages.pofile import read_po
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation.template import templatize

from devices.models.choices import StatusChoices
from scripts.check_translations import missing
from tests.devices.factories import make_server, make_timed_device
from tests.fleet.dashboard.conftest import make_key, make_line
from tests.fleet.dashboard.html import Document

CATALOGS = sorted(Path(settings.LOCALE_PATHS[0]).glob("*/LC_MESSAGES/django.po"))
PACKAGES = ("devices", "fleet")
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
}


def load(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def texts_in_the_source() -> Iterator[tuple[str, Path]]:
    """Every text that the packages and templates mark for translation, with the file it stands in."""
    for package in PACKAGES:
        root = settings.BASE_DIR / package
        for path in root.rglob("*.py"):
            with path.open("rb") as file:
                for _, _, texts, _ in extract_python(file, KEYWORDS, [], {"encoding": "utf-8"}):
                    yield first(texts), path
        for path in root.rglob("*.html"):
            # templatize makes calls of gettext out of the tags; the reader of scripts forgives the rest
            code = templatize(path.read_text(), origin=str(path)).encode()
            for _, _, texts, _ in extract_javascript(BytesIO(code), KEYWORDS, [], {"encoding": "utf-8"}):
                yield first(texts), path


def first(texts: object) -> str:
    """The singular."""
    return str(texts[0] if isinstance(texts, tuple | list) else texts)


def test_there_is_a_catalog_for_every_language_but_english() -> None:
    assert {path.parent.parent.name for path in CATALOGS} == {
        translation.to_locale(code) for code, _ in settings.LANGUAGES if code != "en"
    }


@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: path.parent.parent.name)
class TestCatalog:
    def test_nothing_is_missing_or_doubtful(self, catalog: Path) -> None:
        assert missing(catalog) == []

    def test_every_text_of_the_source_is_in_it(self, catalog: Path) -> None:
        known = {first(message.id) for message in load(catalog)}
        found = list(texts_in_the_source())
        assert len({text for text, _ in found}) > 300, "the reader of the source reads"
        lost = {(text, str(path.relative_to(settings.BASE_DIR))) for text, path in found if text not in known}
        assert not lost, "python manage.py makemessages -l pt_BR --no-location --no-obsolete -i .venv -i var"

    def test_nothing_in_it_is_left_over(self, catalog: Path) -> None:
        used = {text for text, _ in texts_in_the_source()}
        assert [message.id for message in load(catalog) if message.id and first(message.id) not in used] == []

    def test_placeholders_are_kept(self, catalog: Path) -> None:
        loaded = load(catalog)
        assert [error for message in loaded for error in message.check(loaded)] == []


@pytest.mark.django_db
def test_pages_speak_the_language_of_the_browser(viewer_client: Client) -> None:
    device = make_timed_device(make_server())
    make_line(device, 2)
    make_key(device)
    for name, expected in {
        "start": ["A frota", "Falhas por Detalhes", "Próximos a expirar", "Bem-sucedido"],
        "device-list": ["Dispositivos", "Grupo de dispositivos", "Todos"],
        "server-list": ["Servidores SCEP", "Tempo limite de comunicação"],
    }.items():
        page = Document(viewer_client.get(reverse(name), headers={"Accept-Language": "pt-BR,pt;q=0.9"}))
        assert page.all("html")[0].get("lang") == "pt-br"
        for words in expected:
            assert words in page.text, name


@pytest.mark.django_db
def test_labels_of_models_and_refusals_are_translated(administrator_client: Client) -> None:
    device = make_timed_device(make_server())
    page = Document(
        administrator_client.get(
            reverse("device-settings", args=[device.pk]), headers={"Accept-Language": "pt-BR"}
        )
    )
    assert page.label_of("timer_enabled") == (
        "Ativar temporizador para solicitação automática de emissão de certificado"
    )
    assert "mesmo durante uma importação ou exportação em lote" in page.described("auto_restart")
    refused = administrator_client.post(
        reverse("device-add"), {"host": "300.1.1.1"}, headers={"Accept-Language": "pt-BR"}
    )
    assert "não é um endereço IP nem um nome de host" in Document(refused).described("host")


def test_the_manuals_four_statuses_are_translated() -> None:
    with translation.override("pt-br"):
        assert [str(choice.label) for choice in StatusChoices] == [
            "A ser processado",
            "Processando...",
            "Erro",
            "Bem-sucedido",
        ]
