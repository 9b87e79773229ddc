"""`Idempotency-Key` on a file: told from others by all of its bytes, none of which stay in memory."""

from __future__ import annotations

import tracemalloc
from io import RawIOBase
from typing import Any

import pytest
from rest_framework.test import APIClient

from devices import doorbell
from devices.models import IdempotentRequest, Import
from devices.transfer import storage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)


class Upload(RawIOBase):
    """A CSV of `size` bytes that is made while it is read, as a body comes over a socket."""

    HEADER = b"name,host,location\n"
    LINE = b"mfp,10.0.0.1," + b"x" * 186 + b"\n"
    FORM = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="fleet.csv"\r\n\r\n',
        b"\r\n--edge--\r\n",
    )

    def __init__(self, size: int, *, end: bytes = b"x", as_form: bool = False) -> None:
        before, after = self.FORM if as_form else (b"", b"")
        self.as_form = as_form
        self._start, self._end = before + self.HEADER, end + after
        self._file_ends = len(before) + size - len(end)
        self._at, self.length = 0, len(before) + size + len(after)
        self.largest_read = 0

    @property
    def left(self) -> int:
        return self.length - self._at

    def read(self, size: int = -1) -> bytes:
        self.largest_read = max(self.largest_read, self.left if size < 0 else size)
        begin, end = self._at, min(self.length, self._at + (self.left if size < 0 else size))
        self._at = end
        pieces = [self._start[begin:end]]
        first, last = max(begin, len(self._start)), min(end, self._file_ends)
        if first < last:
            skip = (first - len(self._start)) % len(self.LINE)
            lines = self.LINE * ((skip + last - first) // len(self.LINE) + 1)
            pieces.append(lines[skip : skip + last - first])
        pieces.append(self._end[max(0, begin - self._file_ends) : max(0, end - self._file_ends)])
        return b"".join(pieces)

    def send(self, api: APIClient, key: str, path: str = "/api/v1/imports/") -> Any:
        kind = "multipart/form-data; boundary=edge" if self.as_form else "text/csv"
        body: dict[str, Any] = {"wsgi.input": self, "CONTENT_LENGTH": str(self.length)}
        return api.generic("POST", path, content_type=kind, headers={"Idempotency-Key": key}, **body)


@pytest.mark.parametrize("as_form", [False, True], ids=["body", "form"])
def test_a_file_of_30_mb_is_never_in_memory(api: APIClient, as_form: bool) -> None:
    Upload(1_000).send(api, "k-0")  # what the program imports for its first upload does not count
    answers = []
    for _ in range(2):
        sent = Upload(30_000_000, as_form=as_form)
        tracemalloc.start()
        try:
            answers.append(sent.send(api, "k-1"))
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sent.left == 0, "read to its end"
        assert sent.largest_read <= 1 << 20
        assert peak < 5_000_000
    first, second = answers
    assert first.status_code == 202, first.content
    assert (second.content, second["Idempotency-Replayed"]) == (first.content, "true")
    found = Import.objects.latest("pk")
    assert sum(len(piece) for piece in storage.pieces(found)) == 30_000_000, "the view got all of it"


def test_a_file_that_differs_at_its_end_is_another(api: APIClient) -> None:
    assert Upload(2_000_000).send(api, "k-1").status_code == 202
    refused = Upload(2_000_000, end=b"y").send(api, "k-1")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


def test_more_than_a_file_may_have_is_not_spooled(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.api.idempotency.LARGEST_FILE", 1_000_000)
    sent = Upload(30_000_000)
    refused = sent.send(api, "k-1")
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert sent.left > 28_000_000
    assert not IdempotentRequest.objects.exists()


@pytest.mark.parametrize("as_form", [False, True], ids=["body", "form"])
def test_where_no_file_is_expected_none_is_spooled(api: APIClient, as_form: bool) -> None:
    """Whoever may only look must not fill the disk."""
    sent = Upload(34_000_000, as_form=as_form)
    refused = sent.send(api, "k-1", "/api/v1/devices/")
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert "32 MiB" in refused.json()["detail"]
    assert sent.left == sent.length
    assert not IdempotentRequest.objects.exists()
