"""Sentences of ours that are stored in English and read in another language, with the values that stand in them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext

from devices.delivery import errors
from devices.delivery.connectors import generic_profile, http_upload, profiles, upload_texts
from devices.delivery.connectors.base import Connector, Target
from devices.delivery.connectors.download import DownloadConnector
from devices.delivery.errors import DeliveryError, NotSupported
from devices.texts import Sentence, declared, localized

FIELDS = re.compile(r"%\((\w+)\)s")


class TestSentence:
    @pytest.fixture
    def sentence(self) -> Iterator[Sentence]:
        made = Sentence("The device (%(label)s) took 100%% of %(seconds)s s. Wait.", words=["label"])
        yield made
        made.forget()

    def test_it_is_english_whoever_is_served_and_stands_on_one_line(self, sentence: Sentence) -> None:
        with translation.override("pt-br"):
            text = sentence(label=DownloadConnector.label, seconds="4\r\n5")
        assert text == "The device (Download by hand (PKCS #12)) took 100% of 4 5 s. Wait."

    def test_a_value_that_is_missing(self, sentence: Sentence) -> None:
        with pytest.raises(KeyError):
            sentence(label="x")

    def test_what_it_does_not_know_it_leaves_alone(self, sentence: Sentence) -> None:
        assert sentence.translated("The device (x) took 100% of 4 s. Wait!") is None
        text = "The printer said: %(x)s 100% “[a-z]*”\n\nWaits for nobody."
        with translation.override("pt-br"):
            assert localized(text) == text
        assert localized("") == ""

    def test_a_strangers_words_do_not_become_ours(self) -> None:
        """A device quotes a sentence of ours: the whole is the sentence that quotes it."""
        with translation.override("pt-br"):
            text = upload_texts.NO_ROOM(said="import %(said)s 100%")
            assert "“import %(said)s 100%”" in localized(text)
            assert localized(text).startswith("O dispositivo não tem espaço")


class TestEveryOne:
    def test_each_is_recognized_as_itself_with_its_values(self) -> None:
        assert len(declared()) > 40
        with translation.override("pt-br"):
            for sentence in declared():
                values = {name: f"«{name} 1.2»" for name in FIELDS.findall(sentence.template)}
                translated = localized(sentence(**values))
                assert translated == gettext(sentence.template) % values
                assert translated != sentence(**values)

    def test_words_of_ours_in_them_are_translated_too(self) -> None:
        with pytest.raises(NotSupported) as met:
            DownloadConnector(Target("10.0.0.1")).restart()
        with translation.override("pt-br"):
            assert localized(str(met.value)).startswith(
                "O conector deste dispositivo (Download manual (PKCS #12)) não consegue reiniciá-lo."
            )

    def test_several_lines_each_by_itself(self) -> None:
        with translation.override("pt-br"):
            first, second, third = localized(
                "Waits for the maintenance window of the device's group.\n"
                "No SSH connection to 10.1.1.1, port 22. Check that the host is switched on, its address and port, "
                "and firewalls in between.\nin the device's own words"
            ).split("\n")
        assert first.startswith("Aguarda")
        assert second.startswith("Sem conexão SSH com 10.1.1.1, porta 22.")
        assert third == "in the device's own words"

    def test_every_step_of_a_profile_has_a_name_that_is_translated(self) -> None:
        described = {
            "login": "form",
            "login_path": "/login",
            "form_path": "/import",
            "format": "pem",
            "key_field": "k",
        }
        generic = generic_profile.of(described.get)
        every = [*profiles.built_in().values(), generic]
        names = {step.name for profile in every for step in profile.steps}
        assert names <= upload_texts.STEP_NAMES

    def test_the_self_test_speaks_the_readers_language(self) -> None:
        plain = {"profile": "generic", "login": "none"}
        with translation.override("pt-br"):
            (finding,) = http_upload.HttpUploadConnector(Target("127.0.0.1", plain)).self_test()
        assert finding.message.startswith(
            "As configurações do conector descrevem o dispositivo e falta “Caminho"
        )


def _raised() -> Iterator[tuple[str, ast.expr]]:
    """The first argument of every error of deliveries that is made in the source."""
    kinds = {
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DeliveryError)
    }
    for path in (settings.BASE_DIR / "devices").rglob("*.py"):
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in kinds
                and node.args
            ):
                yield f"{path.name}:{node.lineno}", node.args[0]


def test_no_error_has_a_text_that_nobody_can_translate() -> None:
    found = list(_raised())
    assert len(found) > 50, "the reader of the source reads"
    literal = [where for where, text in found if isinstance(text, ast.Constant | ast.JoinedStr | ast.BinOp)]
    assert literal == [], "gettext_noop, or a Sentence where there are values (devices/texts.py)"


def test_a_connector_of_another_package_says_what_it_cannot() -> None:
    class Bell(Connector):
        label = "Bell"

    with pytest.raises(NotSupported, match=r"\(Bell\) cannot install a key on it"):
        Bell(Target("10.0.0.1")).install(None)  # type: ignore[arg-type]
