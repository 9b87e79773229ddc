"""People and pages for the browser tests. The server runs in a thread of the test, on a real database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.conftest import PASSWORD

Visit = Callable[..., Page]


@pytest.fixture
def visit(live_server: LiveServer, page: Page) -> Visit:
    """Opens the page of a name and its arguments."""

    def open_page(name: str, *arguments: object, query: str = "") -> Page:
        page.goto(live_server.url + reverse(name, args=arguments) + query)
        return page

    return open_page


@pytest.fixture
def admin(visit: Visit) -> Visit:
    """The same, signed in as an administrator through the form."""
    # a superuser, because a transactional test leaves no group behind for the next one
    User.objects.create_superuser("ana", password=PASSWORD)
    return sign_in(visit, "ana")


@pytest.fixture
def onlooker(visit: Visit) -> Visit:
    """The same, signed in as somebody who may look."""
    User.objects.create_user("otto", password=PASSWORD)
    return sign_in(visit, "otto")


def sign_in(visit: Visit, name: str) -> Visit:
    """Fill in the sign-in form as a person does: it has the focus already."""
    page = visit("sign-in")
    # the browser moves the focus a moment after the page is there
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The fleet")).to_be_visible()
    return visit
