"""IPP against CUPS's ippeveprinter, and what is no IPP printer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devices.delivery.connectors import identity, ipp
from devices.delivery.connectors.base import Activity, Identity
from devices.delivery.errors import ConnectionLost, UnexpectedAnswer, Unreachable
from tests.devices.delivery.doubles import answering
from tests.peers.ipp_printer import IppPrinter, ipp_printer
from tests.peers.process import free_port


@pytest.fixture(scope="module")
def printer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IppPrinter]:
    with ipp_printer(tmp_path_factory.mktemp("printer")) as running:
        yield running


def test_a_printer_says_what_it_is_and_does(printer: IppPrinter) -> None:
    found = ipp.attributes("127.0.0.1", printer.port)
    assert found["printer-make-and-model"] == ["Example MFP 4000"]
    told = ipp.identity_of(found)
    assert (told.vendor, told.model) == ("Example", "MFP 4000")
    assert ipp.activity("127.0.0.1", printer.port) is Activity.IDLE


def test_over_https_too(printer: IppPrinter, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[bool] = []
    over = ipp._post

    def only_tls(*args: object, tls: bool, **kwargs: object) -> bytes:
        ways.append(tls)
        if not tls:
            raise ConnectionLost("it speaks TLS only")
        return over(*args, tls=tls, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ipp, "_post", only_tls)
    assert ipp.attributes("127.0.0.1", printer.port)["printer-make-and-model"] == ["Example MFP 4000"]
    assert ways == [False, True]


def test_nobody_there() -> None:
    with pytest.raises(Unreachable):
        ipp.attributes("127.0.0.1", free_port())


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x01\x01\x00\x00\x00\x00\x00\x01\x04\x41\x00\x05ab"])
def test_what_is_no_ipp_is_refused(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer, match="IPP"):
        ipp.response(body)


def test_an_ipp_error_is_told() -> None:
    with pytest.raises(UnexpectedAnswer, match="0x0406"):
        ipp.response(b"\x01\x01\x04\x06\x00\x00\x00\x01\x03")


def test_a_web_server_that_is_no_printer() -> None:
    with answering(404, b"nothing here") as url, pytest.raises((UnexpectedAnswer, ConnectionLost)):
        ipp.attributes("127.0.0.1", int(url.split(":")[2].split("/")[0]), timeouts=ipp.Timeouts(30, 30))


def test_device_ids_and_strangers_texts() -> None:
    assert identity.of_device_id("MFG:Example;CMD:PCL;MDL:MFP 4000;SN:A1;") == Identity(
        "Example", "MFP 4000", "A1", ""
    )
    assert identity.of_device_id("nonsense") == Identity()
    assert identity.plain(Identity(vendor="x\r\ny", model="z" * 200)).vendor == "x  y"
    assert len(identity.plain(Identity(model="z" * 200)).model) == identity.LONGEST
    assert identity.firmware_in("Net printer, Firmware: V1.2.3. Serial 9") == "1.2.3"
    assert identity.firmware_in("Linux 6.1") == ""
    assert identity.vendor_and_model("Example MFP 4000", "Example") == ("Example", "MFP 4000")
    assert identity.vendor_and_model("MFP", "") == ("", "MFP")
