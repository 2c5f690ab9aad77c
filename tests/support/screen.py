"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or ""
WIDTHS: Final = {"phone": 360, "tablet": 768, "desk": 1280}
HEIGHT: Final = 900


def require_chromium() -> None:
    """Skip where there is no Chromium, unless everything has to run."""
    if CHROMIUM:
        return
    if os.environ.get("MOIETY_REQUIRE_PEERS"):
        pytest.fail("needs Chromium: apt-get install chromium")
    pytest.skip("needs Chromium: apt-get install chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. It has no sandbox of its own, which root could not have."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none", "--force-color-profile=srgb"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def person(browser: Browser, address: str, key: str, **options: object) -> Iterator[Page]:
    """Someone at the console, signed in by a key. Whatever goes wrong on a page fails the test."""
    chosen: dict[str, object] = {"locale": "en-GB", "viewport": {"width": WIDTHS["desk"], "height": HEIGHT}, **options}
    context = browser.new_context(**chosen)  # type: ignore[arg-type]  # options of Playwright's
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if _is_wrong(message) else None)
    page.on(
        "request", lambda request: None if request.url.startswith(f"http://{address}/") else wrong.append(request.url)
    )
    page.goto(f"http://{address}/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)
    try:
        yield page
        assert not wrong, wrong
    finally:
        context.close()


def _is_wrong(message: ConsoleMessage) -> bool:
    """Whether a browser complains of something other than an answer that says that something was not done."""
    return message.type == "error" and "the server responded with a status of 409" not in message.text
