"""The session as a table per class of instructions, and as a plot; other processors' tables in the file stay."""

import datetime
import re

from install import OURS, ROOT

PAGE = ROOT / "benches" / "peers.md"
HEAD = """\
# Beside other engines

Written by `make bench-peers`, a section per processor; [README.md](README.md) says what is measured, how, and what is
not. Milliseconds belong to their machine: what can be compared is the ratio within one table.
"""
COLUMNS = ["network", "threads", "engine", "median ms", "min ms", "ratio", "peak MiB", "first label s", "load s"]


class Report:
    def __init__(self, session, notes):
        self.session = session
        self.notes = notes

    def levels(self):
        return list(dict.fromkeys(case.level for case in self.session.cases))

    def cases(self, level):
        return [case for case in self.session.cases if case.level == level]

    def rows(self, case):
        """(engine, its figures with the ratio to the fastest peer), the fastest first."""
        found = {e: self.session.series[case, e].row() for e in self.session.ready if (case, e) in self.session.series
                 and self.session.series[case, e].median}  # fmt: skip
        best = min((row["median"] for engine, row in found.items() if engine is not OURS), default=None)
        for row in found.values():
            row["ratio"] = row["median"] / best if best else None
        return sorted(found.items(), key=lambda item: item[1]["median"])

    def table(self, level):
        lines = [COLUMNS]
        for case in self.cases(level):
            for engine, row in self.rows(case):
                bold = "**" if engine is OURS else ""
                lines.append([
                    case.network, str(case.threads), f"{bold}{engine.title}{bold}", f"{row['median']:.1f}",
                    f"{row['min']:.1f}", f"{row['ratio']:.2f}" if row["ratio"] else "-", f"{row['peak']:.0f}",
                    f"{row['label'] / 1000:.2f}", ("< " if engine is OURS else "") + f"{row['load'] / 1000:.2f}",
                ])  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
        left = {0, 2}

        def line(cells):
            sides = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
            return "| " + " | ".join(sides) + " |"

        rule = "|" + "|".join("-" * (w + 2) if i in left else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
        return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])

    def left_out(self):
        for (engine, level, threads), reason in self.session.skipped.items():
            where = f" ({level}, {threads} thread{'s' if threads > 1 else ''})" if level else ""
            yield f"- not measured: {engine.title}{where}: {' '.join(reason.split())}"

    def answers(self):
        """Who gave another label to the picture than the first engine did: then something is not the same network."""
        answers = {}
        for (case, engine), series in self.session.series.items():
            if engine is not OURS and series.median:
                answers.setdefault(case.network, {})[engine.title] = series.answer
        for network, given in answers.items():
            if len(set(given.values())) == 1:
                yield f"- {network}: all peers give the picture the same label"
            else:
                yield f"- {network}: labels differ: " + ", ".join(f"{title} {label}" for title, label in given.items())

    def isas(self):
        found = {(case.level, s.isa) for (case, engine), s in self.session.series.items() if engine is OURS and s.isa}
        return ", ".join(f"{isa} in class {level}" for level, isa in sorted(found))

    def text(self):
        here, session = self.session.here, self.session
        versions = ", ".join(f"{engine.title} {version}" for engine, (_, version) in session.ready.items())
        parts = [f"## {here.title}", "", f"{datetime.date.today()}; {versions}.", "", *self.notes]
        if self.isas():
            parts.append(f"- resnetd ran {self.isas()}")
        parts += [*self.answers(), *self.left_out(), ""]
        for level in self.levels():
            parts += [f"### Class {level}", "", self.table(level), ""]
            parts += [f"![Milliseconds of each engine]({self.plot_path(level).name})", ""]
        return "\n".join(parts)

    def plot_path(self, level):
        return PAGE.with_name(f"peers-{self.session.here.slug}-{level}.svg")

    def write(self):
        key = self.session.here.slug
        begin, end = f"<!-- {key} -->", f"<!-- end of {key} -->"
        page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEAD
        section = f"{begin}\n{self.text()}{end}\n"
        old = re.compile(re.escape(begin) + ".*?" + re.escape(end) + "\n", re.S)
        if old.search(page):
            page = old.sub(lambda _: section, page)
        else:
            page = page.rstrip("\n") + "\n\n" + section
        PAGE.write_text(page, encoding="utf-8")
        for level in self.levels():
            self.plot_path(level).write_text(self.plot(level), encoding="utf-8")
        return [PAGE, *map(self.plot_path, self.levels())]

    def plot(self, level):
        return plot([(f"{c.network}, {c.threads} thread{'s' if c.threads > 1 else ''}", self.rows(c))
                     for c in self.cases(level)])  # fmt: skip


STYLE = """\
text { font: 12px sans-serif; fill: #24292f } .head { font-weight: bold } .bar { fill: #8c959f } .ours { fill: #1a7f37 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #3fb950 } }"""
LEFT, LONGEST, RIGHT, STEP = 110, 250, 60, 18


def plot(panels):
    """Bars, two panels in a row, each to its own scale."""
    width = LEFT + LONGEST + RIGHT
    pairs = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    heights = [(max(len(rows) for _, rows in pair) + 3) * STEP for pair in pairs]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {sum(heights)}" role="img">',
        "<title>Median milliseconds per inference; shorter is faster</title>",
        f"<style>{STYLE}</style>",
    ]
    for number, (title, rows) in enumerate(panels):
        x, y = number % 2 * width, sum(heights[: number // 2]) + STEP
        out.append(f'<text class="head" x="{x + LEFT}" y="{y}">{title}, ms</text>')
        most = max((row["median"] for _, row in rows), default=1)
        for engine, row in rows:
            y += STEP
            long = max(row["median"] / most * LONGEST, 1)
            kind = "ours" if engine is OURS else "bar"
            out += [
                f'<text x="{x + LEFT - 6}" y="{y}" text-anchor="end">{engine.title}</text>',
                f'<rect class="{kind}" x="{x + LEFT}" y="{y - 11}" width="{long:.1f}" height="13"/>',
                f'<text x="{x + LEFT + long + 5:.1f}" y="{y}">{row["median"]:.1f}</text>',
            ]
    return "\n".join([*out, "</svg>"]) + "\n"
