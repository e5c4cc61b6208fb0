"""The two plots of docs/CHOOSING.md, as SVG that follows a dark page."""

from html import escape

STYLE = """<style>text { font: 13px sans-serif; fill: #444 } .bold { font-weight: 600 } .axis { stroke: #999 } .a { fill: #3b7dd8 }
.b { fill: #d0803c } @media (prefers-color-scheme: dark) { text { fill: #ccc } }</style>"""


def svg(width, height, label, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(label)}">'
    return "\n".join([head, STYLE, *parts, "</svg>"]) + "\n"


def text(x, y, words, anchor="start", kind=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def ticks(low, high, most=6):
    """Round numbers from `low` to `high`."""
    step = next(s * 10**e for e in range(-4, 8) for s in (1, 2, 5) if (high - low) / (s * 10**e) <= most)
    first = -(-low // step)
    return [(first + i) * step for i in range(int((high - first * step) / step + 1e-9) + 1)]


def scatter(points, xlabel, ylabel):
    """`points`: (name, x, y); names beside their dots."""
    width, height, left, bottom, top, right = 720, 360, 70, 50, 20, 120
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    low, high = min(ys), max(ys)
    margin = max(high - low, 0.5) * 0.2
    xspan, yspan = (0, max(xs) * 1.05), (low - margin, high + margin)
    x = lambda v: left + (v - xspan[0]) / (xspan[1] - xspan[0]) * (width - left - right)
    y = lambda v: height - bottom - (v - yspan[0]) / (yspan[1] - yspan[0]) * (height - bottom - top)
    parts = [f'<path class="axis" fill="none" d="M{left} {top}V{height - bottom}H{width - right}"/>']
    parts += [text(x(v), height - bottom + 18, f"{v:g}", "middle") for v in ticks(*xspan)]
    parts += [text(left - 8, y(v) + 4, f"{v:g}", "end") for v in ticks(*yspan)]
    parts += [text((left + width - right) / 2, height - 8, xlabel, "middle"), text(left, top - 6, ylabel)]
    for name, px, py in points:
        parts += [f'<circle class="a" cx="{x(px):.1f}" cy="{y(py):.1f}" r="5"/>', text(x(px) + 10, y(py) + 4, name, kind="bold")]
    return svg(width, height, f"{ylabel} against {xlabel}", parts)


def bars(rows, unit):
    """`rows`: (name, [(what, value, class)])."""
    width, left, line = 720, 150, 22
    largest = max(value for _, values in rows for _, value, _ in values)
    parts, at = [], 12
    for name, values in rows:
        parts.append(text(left - 10, at + line * len(values) / 2 + 4, name, "end", "bold"))
        for what, value, kind in values:
            length = value / largest * (width - left - 190)
            parts.append(f'<rect class="{kind}" x="{left}" y="{at + 3}" width="{length:.1f}" height="{line - 6}"/>')
            parts.append(text(left + length + 8, at + line / 2 + 5, f"{value:.0f} {unit}, {what}"))
            at += line
        at += 12
    return svg(width, at, "time of one inference", parts)
