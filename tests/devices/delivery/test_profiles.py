"""The format of profiles, the settings that describe a device, and what is read from pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError

from devices.delivery.connectors import generic_profile, profiles
from devices.delivery.connectors.pages import Page, said
from devices.delivery.connectors.profiles import ProfileInvalid
from devices.delivery.connectors.settings import validate_fingerprint

_STEP = 'label = "x"\n[[step]]\nname="a"\npath="/"\nchanges=true'


class TestFormat:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("nonsense", "x"),
            ('label = "x"', "at least one"),
            ('label = "x"\nlogin = "magic"\n[[step]]\nname="a"\npath="/"\nchanges=true', "login"),
            ('label = "x"\nlogin = "form"\n[[step]]\nname="a"\npath="/"\nchanges=true', "signs_in"),
            ('label = "x"\ncolor = "red"\n[[step]]\nname="a"\npath="/"\nchanges=true', "color"),
            ('label = "x"\n[[step]]\nname="a"\npath="/"\nchanges=true\nerror="no group"', "one group"),
            ('label = "x"\n[[step]]\nname="a"\npath="/"\nchanges=true\nerror="("', "no pattern"),
            ('label = "x"\n[[step]]\nname="a"\npath="a"\nchanges=true', "path"),
            ('label = "x"\n[[step]]\nname="a"\npath="/"\nparts=[{value="key"}]', "name or name_of"),
            ('label = "x"\n[[step]]\nname="a"\npath="/"\nparts=[{name="x", value="soul"}]', "soul"),
            (f"{_STEP}\n[[removal]]\nname='a'\npath='/'\nchanges=true", "wants .listing."),
            (f"{_STEP}\n[listing]\npath='/'\nnumber='a'\nview='/{{number}}'\nserial='(a)'", "one group"),
            (f"{_STEP}\n[listing]\npath='/'\nnumber='(a)'\nview='/'\nserial='(a)'", "to hold"),
        ],
    )
    def test_a_profile_that_does_not_fit_says_where(self, text: str, words: str) -> None:
        with pytest.raises(ProfileInvalid, match=words):
            profiles.parse(text, name="x.toml")

    @pytest.mark.parametrize(
        ("check_", "value"),
        [
            (generic_profile.validate_path, "import"),
            (generic_profile.validate_path, "//example.com/"),
            (generic_profile.validate_path, "/a b"),
            (generic_profile.validate_pattern, "("),
            (generic_profile.validate_extra_fields, "a=1\nb"),
            (validate_fingerprint, "ab:cd"),
        ],
    )
    def test_settings_that_do_not_fit(self, check_: Callable[[str], None], value: str) -> None:
        with pytest.raises(ValidationError):
            check_(value)

    def test_pages_and_quotes(self) -> None:
        page = Page(
            '<input name=a value=1><form><input type=HIDDEN name=b value="&amp;2"><select name=s><option value=x>'
            "<option value=y></select><textarea name=t></textarea></form>"
        )
        assert [each.name for each in page.fields()] == ["a", "b", "s", "t"]
        assert [each.value for each in page.hidden()] == ["&2"]
        select = page.of_type("select")
        assert select is not None
        assert select.options == ("x", "y")
        assert "&2" not in repr(page.hidden())
        assert said("<p>a&nbsp;<b>b\r\n</b></p>" * 500).startswith("a b a b")
