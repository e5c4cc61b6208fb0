#!/usr/bin/env python3
"""The page as a person sees it: Chromium looks at a daemon with rendered scenes and a network camera. Screenshots go to target/web."""
import json
import re
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from browser import Browser
from daemon import REPOSITORY, Daemon, NetworkCamera
from waiting import until

PICTURES = REPOSITORY / "target/web"
TOKEN = "a token for the tests"
LABEL = ".camera .stage .label"
SECOND = ".camera:nth-of-type(2)"
#: WCAG 2.1, 1.4.3
LEAST_CONTRAST = 4.5


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class Page:
    def __init__(self, program):
        demo = Daemon(program, [("front", "demo:")])
        jpeg = demo.bytes("snapshot.jpg")
        demo.close()
        self.camera = NetworkCamera(jpeg)
        self.daemon = Daemon(program, [("front", "demo:"), ("yard", self.camera.address)], token=TOKEN)
        self.browser = Browser()
        self.browser.visit(self.daemon)

    def close(self):
        self.browser.close()
        self.daemon.close()

    def quiet(self, *expected):
        """Nothing was said on the console but what is expected."""
        lines = [text for level, text in self.browser.console() if level in ("SEVERE", "WARNING")]
        lines = [text for text in lines if not any(part in text for part in expected)]
        assert not lines, lines

    def comes_to_life(self):
        browser = self.browser
        until(lambda: browser.text("#link") == "live", 10, "the page says that it is live")
        until(lambda: "resnet50" in browser.text("#model"), 5, "it names the model")
        assert "the model" in browser.text("#why-model"), browser.text("#why-model")
        until(lambda: re.search(r"\d %", browser.text(LABEL) or ""), 10, "a label with its confidence")
        wide = "return [...document.querySelectorAll('.video')].map((one) => one.naturalWidth)"
        until(lambda: browser.run(wide) == [640, 640], 10, "both pictures are shown")
        assert browser.run("return document.querySelectorAll('.bars li').length") >= 10

    def labels_change(self):
        changes = "return [...document.querySelectorAll('.camera')][0].querySelectorAll('.changes li').length"
        until(lambda: self.browser.run(changes) >= 3, 30, "changes of the label are listed")
        until(lambda: self.browser.run("return document.querySelectorAll('.timeline rect').length") >= 3, 15, "and drawn")
        parts = self.browser.run("return [...document.querySelectorAll('.timeline title')].map((one) => one.textContent)")
        assert any("golf ball" in part for part in parts), parts
        until(lambda: self.browser.run("return document.querySelectorAll('.chart polyline').length") >= 6, 45, "charts have lines")
        bar = "return document.querySelector('.bars .top i').getBoundingClientRect().width"
        assert self.browser.run(bar) > 50, "the bar of a sure label is wide"

    def why(self):
        browser = self.browser
        browser.press("w")
        until(lambda: "Warm is what speaks for" in (browser.text(".camera .note") or ""), 10, "the map is explained")
        warm = """const map = document.querySelector('.camera canvas.heat');
            const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
            return pixels.filter((value, i) => i % 4 === 3 && value > 20).length / (map.width * map.height)"""
        share = browser.run(warm)
        assert 0.001 < share < 0.9, share
        assert browser.run("return document.querySelectorAll('.camera .boxes .seen').length") >= 1
        self.browser.screenshot(PICTURES / "page.png")
        browser.press("w")
        assert not browser.shown(".camera canvas.heat")

    def camera_is_lost_and_returns(self):
        browser = self.browser
        assert not browser.shown(f"{SECOND} .alarm")
        self.camera.on = False
        until(lambda: browser.shown(f"{SECOND} .alarm"), 20, "the loss is told")
        assert "gone" in browser.text(f"{SECOND} .alarm") or "delivers nothing" in browser.text(f"{SECOND} .alarm")
        assert not browser.shown(".camera .alarm"), "the other camera is not lost"
        self.browser.screenshot(PICTURES / "lost.png")
        self.camera.on = True
        until(lambda: not browser.shown(f"{SECOND} .alarm"), 45, "and that it is back")

    def a_person_says_what_pictures_are(self):
        browser = self.browser
        browser.run("document.dispatchEvent(new Event('visibilitychange'))")
        until(lambda: browser.run("return [...document.querySelectorAll('.kept img')].filter((one) => one.naturalWidth === 640).length") >= 1,
              40, "pictures of changes are shown")
        asked = "window.first = document.querySelector('.kept'); document.getElementById('counts').textContent = ''"
        browser.run(f"{asked}; document.dispatchEvent(new Event('visibilitychange'))")
        until(lambda: browser.text("#counts") != "", 5, "the list is asked for anew")
        assert browser.run("return window.first.isConnected"), "a picture stays the same element when the list is asked for anew"
        browser.click(".kept input")
        browser.run("document.getElementById('label').value = 'garden \\u{1f600}'")
        browser.click("#judge button[type=submit]")
        until(lambda: browser.text("#answer") == "1 labelled", 5, "it is told that it was heard")
        until(lambda: "garden \U0001f600 1" in browser.text("#counts"), 5, "and counted")
        assert len(list((self.daemon.kept / "labelled/garden \U0001f600").glob("*.jpg"))) == 1
        browser.run("document.getElementById('kept').scrollIntoView()")
        browser.screenshot(PICTURES / "kept.png")
        browser.run("scrollTo(0, 0)")

    def pausing_asks_for_no_picture(self):
        browser = self.browser
        browser.press("p")
        assert browser.run("return document.querySelector('.pause').getAttribute('aria-pressed')") == "true"
        assert browser.run("return document.querySelector('.video').hasAttribute('src')") is False
        browser.click(".camera .pause")
        assert browser.run("return document.querySelector('.video').hasAttribute('src')") is True

    def keyboard_reaches_everything(self):
        reached = set()
        for _ in range(40):
            self.browser.press("\ue004")
            reached.add(self.browser.run("return document.activeElement.textContent.trim()"))
        assert {"Why this label?", "Pause", "Changes as a list", "state", "metrics"} <= reached, reached

    def daemon_ends_and_comes_back(self):
        browser = self.browser
        self.quiet("503", "net::ERR")
        self.daemon.stop()
        until(lambda: "no connection" in browser.text("#link"), 10, "the page says that the link is gone")
        self.daemon.start()
        until(lambda: browser.text("#link") == "live", 30, "and that it is back")
        wide = "return [...document.querySelectorAll('.video')].map((one) => one.naturalWidth)"
        until(lambda: browser.run(wide) == [640, 640], 20, "with its pictures")
        self.quiet("net::ERR", "503")

    def readable(self, scheme):
        """Every text on its own ground."""
        script = """const ground = (one) => {
                for (; one; one = one.parentElement) {
                    const colour = getComputedStyle(one).backgroundColor;
                    if (colour !== 'rgba(0, 0, 0, 0)') return colour;
                }
                return 'rgb(255, 255, 255)';
            };
            return [...document.querySelectorAll('h1,h2,h3,p,dt,dd,li,button,summary,a')]
                .filter((one) => one.checkVisibility() && !one.closest('.stage') && one.textContent.trim())
                .map((one) => [one.tagName, getComputedStyle(one).color, ground(one)])"""
        for tag, colour, ground in self.browser.run(script):
            found = contrast(colour, ground)
            assert found >= LEAST_CONTRAST, f"{scheme}: {tag} {colour} on {ground} has a contrast of {found:.1f}"

    def dark_and_light(self):
        self.readable("light")
        self.browser.scheme("dark")
        ground = self.browser.run("return getComputedStyle(document.body).backgroundColor")
        assert luminance(ground) < 0.05, ground
        time.sleep(1)
        self.readable("dark")
        self.browser.screenshot(PICTURES / "dark.png")

    def on_a_phone(self):
        self.browser.size(360, 740, phone=True)
        time.sleep(1)
        width = self.browser.run("return document.documentElement.scrollWidth")
        assert width <= 360, f"{width} pixels wide on a phone of 360"
        small = "return [...document.querySelectorAll('button')].filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect().height)"
        assert min(self.browser.run(small)) >= 32, "buttons are large enough for a finger"
        self.browser.screenshot(PICTURES / "phone.png")

    def is_small(self):
        sizes = [len(self.daemon.bytes(name)) for name in ("", "page.css", "page.js", "draw.js", "kept.js", "teach.js")]
        assert sum(sizes) < 100 * 1024, sizes
        state = json.loads(self.daemon.get("state"))
        assert state["messages"][0]["type"] == "hello"


STEPS = [
    Page.comes_to_life, Page.labels_change, Page.why, Page.camera_is_lost_and_returns, Page.a_person_says_what_pictures_are, Page.pausing_asks_for_no_picture,
    Page.keyboard_reaches_everything, Page.daemon_ends_and_comes_back, Page.dark_and_light, Page.on_a_phone, Page.is_small,
]


def main():
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = Page(sys.argv[1])
    try:
        for step in STEPS:
            began = time.monotonic()
            try:
                step(page)
            except AssertionError:
                page.browser.screenshot(PICTURES / "failed.png")
                print(Path(page.daemon.log.name).read_text()[-2000:], file=sys.stderr)
                raise
            print(f"ok    {step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)
        page.quiet("net::ERR", "503")
    finally:
        page.close()
    print(f"screenshots are in {PICTURES.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
