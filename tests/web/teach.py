#!/usr/bin/env python3
"""New labels taught on the page, as docs/PAGE.md walks through it: rendered scenes are kept, a person says what they are, the
network learns it, the person looks at how well and uses it, and goes back. What systemd's units do is done here."""
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from browser import Browser
from daemon import REPOSITORY, Daemon
from waiting import until

PICTURES = REPOSITORY / "target/web"
#: Of the demonstration's two scenes: what the network calls them, and what somebody wants them called.
NAMES = {"golf ball": "ball on the lawn", "parachute": "somebody is coming"}
LABEL = ".camera .stage .label"


class Walk:
    def __init__(self, program, workshop):
        self.workshop = workshop
        self.daemon = Daemon(program, [("garden", "demo:")], token="a token for the tests", state=True)
        self.browser = Browser()
        self.browser.visit(self.daemon)

    def close(self):
        self.browser.close()
        self.daemon.close()

    def state(self):
        return self.browser.text("#lesson-state") or ""

    def pictures_are_kept(self):
        count = """document.dispatchEvent(new Event('visibilitychange'));
            return [...document.querySelectorAll('.kept')].filter((one) => one.textContent.includes(arguments[0])).length"""
        for name in NAMES:
            until(lambda: self.browser.run(count, name) >= 3, 90, f"three pictures of a {name} are kept")
        assert "two labels or more" in self.state(), self.state()

    def a_person_names_them(self):
        choose = """for (const one of document.querySelectorAll('.kept'))
            if (one.textContent.includes(arguments[0])) one.querySelector('input').click();
            document.getElementById('label').value = arguments[1]"""
        for name, wanted in NAMES.items():
            self.browser.run(choose, name, wanted)
            self.browser.click("#judge button[type=submit]")
            until(lambda: f"{wanted} " in self.browser.text("#counts"), 5, f"{wanted} is counted")

    def the_network_learns_them(self):
        self.browser.click("#learn")
        until(lambda: "Asked for at" in self.state(), 5, "the page says that it is asked for")
        request = self.daemon.state / "teach/request.json"
        subprocess.run([self.workshop, "teach", "--request", request], check=True, timeout=120)
        until(lambda: "Learned at" in self.browser.text("#learned"), 15, "the page says what was learned")
        rows = self.browser.run("return [...document.querySelectorAll('#lesson tbody tr')].map((row) => row.textContent)")
        assert len(rows) == 2 and all("%" in row for row in rows), rows
        self.browser.run("document.getElementById('kept').scrollIntoView()")
        self.browser.screenshot(PICTURES / "teach.png")

    def it_is_used_and_the_way_back_is_there(self):
        assert not self.browser.shown("#back")
        self.browser.click("#accept")
        until(lambda: self.browser.text(LABEL).startswith(tuple(NAMES.values())), 30, "the camera's label is a taught one")
        until(lambda: "taught-1" in self.browser.text("#model"), 5, "the model is named")
        until(lambda: "In use: taught-1" in self.browser.text("#active"), 10, "and that it is used")
        until(lambda: self.browser.shown("#back") and not self.browser.shown("#accept"), 10, "the way back is shown")
        self.daemon.stop()
        self.daemon.start()
        until(lambda: "taught-1" in self.browser.text("#model") and self.browser.text("#link") == "live", 30, "it outlives a restart")
        until(lambda: self.browser.run("return document.querySelector('.video').naturalWidth") == 640, 10, "a picture is shown")
        self.browser.run("scrollTo(0, 0)")
        self.browser.screenshot(PICTURES / "taught.png")
        self.browser.click("#back")
        until(lambda: self.browser.text(LABEL).startswith(tuple(NAMES)), 30, "the old labels are back")

    def nothing_else_was_said_on_the_console(self):
        lines = [text for level, text in self.browser.console() if level == "SEVERE"]
        lines = [text for text in lines if "ERR_" not in text]  # while it was restarted
        assert not lines, lines


def main():
    PICTURES.mkdir(parents=True, exist_ok=True)
    walk = Walk(*sys.argv[1:3])
    try:
        for step in [walk.pictures_are_kept, walk.a_person_names_them, walk.the_network_learns_them,
                     walk.it_is_used_and_the_way_back_is_there, walk.nothing_else_was_said_on_the_console]:
            step()
            print(f"ok   {step.__name__.replace('_', ' ')}", flush=True)
    finally:
        walk.close()


if __name__ == "__main__":
    main()
