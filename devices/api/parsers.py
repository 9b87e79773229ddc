"""JSON as it comes in: what is wrong is said by line and column; texts that no database stores are refused."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework.parsers import BaseParser

from devices.api.problems import Unparsable

_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""Escapes of NUL and of halves of a surrogate pair."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class JSONParser(BaseParser):
    """JSON (RFC 8259) in UTF-8. PostgreSQL stores neither NUL nor half a surrogate pair, so they are refused here."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The value. Raises Unparsable."""
        encoding = (parser_context or {}).get("encoding") or settings.DEFAULT_CHARSET
        try:
            text = codecs.getreader(encoding)(stream).read()
        except (UnicodeDecodeError, LookupError):
            raise Unparsable(_("JSON in UTF-8 was expected; these bytes are not.")) from None
        try:
            value = json.loads(text, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            raise Unparsable(
                _("This is not JSON: %(problem)s, in line %(line)d, column %(column)d.")
                % {"problem": error.msg, "line": error.lineno, "column": error.colno},
                line=error.lineno,
                column=error.colno,
            ) from None
        except RecursionError:
            raise Unparsable(_("This JSON is nested too deeply.")) from None
        except ValueError as error:  # NaN and numbers of thousands of digits
            raise Unparsable(_("This is not JSON: %(problem)s.") % {"problem": error}) from None
        if _SUSPICIOUS.search(text) and _holds_unstorable(value):
            raise Unparsable(_("Texts must not hold the character NUL or half of a surrogate pair."))
        return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _holds_unstorable(value: Any) -> bool:
    match value:
        case str():
            return bool(_UNSTORABLE.search(value))
        case list():
            return any(map(_holds_unstorable, value))
        case dict():
            return any(_holds_unstorable(part) for pair in value.items() for part in pair)
    return False
