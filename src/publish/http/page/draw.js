// Drawing: elements from data, no state of its own. Text comes from labels that anybody may have chosen: it is only ever
// set as text.

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function html(name, text = "", classes = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (classes) element.className = classes;
  return element;
}

/// Replaces what is in `element`.
export function fill(element, ...children) {
  element.replaceChildren(...children);
}

export const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

export const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString();

/// Pairs of a name and a value.
export function figures(list, pairs) {
  fill(list, ...pairs.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => {
    const group = html("div");
    group.append(html("dt", name), html("dd", value));
    return group;
  }));
}

/// The most probable labels, the one that holds in bold.
export function bars(list, predictions, top) {
  fill(list, ...predictions.map(({ class: label, confidence }) => {
    const item = html("li", "", label === top ? "top" : "");
    const bar = html("i");
    bar.style.width = `${100 * confidence}%`;
    item.append(bar, html("span", label), html("span", percent(confidence)));
    return item;
  }));
}

/// A colour that is a label's own, readable beside others on light and on dark.
export function colour(label) {
  let hash = 7;
  for (const character of label) hash = (31 * hash + character.codePointAt(0)) % 3600;
  return `hsl(${hash / 10} 60% ${42 + (hash % 3) * 8}%)`;
}

/// Seconds from `first` to `now`, in whole minutes: five at least, an hour at most.
export const span = (first, now) => Math.min(3600, Math.max(300, 60 * Math.ceil((now - first) / 60)));

/// Labels of the `span` seconds before `now`.
export function timeline(labels, now, span) {
  const begin = now - span;
  const ends = labels.map((_, i) => (i + 1 < labels.length ? labels[i + 1].since : now));
  const parts = labels.map(({ since, label, confidence }, i) => {
    const from = Math.max(since, begin), to = Math.min(ends[i], now);
    if (to <= from || label === null) return null;
    const part = svg("rect", { x: from - begin, y: 0, width: to - from, height: 10 });
    part.style.fill = colour(label);
    part.append(svg("title", {}, `${label}, ${percent(confidence)}, from ${clock(since)} to ${clock(ends[i])}`));
    return part;
  });
  const picture = svg("svg", { viewBox: `0 0 ${span} 10`, preserveAspectRatio: "none", class: "timeline", role: "img" });
  picture.setAttribute("aria-label", "Labels by time; as a list below");
  picture.append(...parts.filter(Boolean));
  return picture;
}

/// Lines over the `span` seconds before `now`: `lines` are [name, class, points], a point is [seconds, value].
export function chart(lines, now, span, unit) {
  const width = 600, height = 110, left = 44, bottom = 16;
  const values = lines.flatMap(([, , points]) => points.map(([, value]) => value));
  const top = nice(Math.max(0, ...values) || 1);
  const x = (at) => left + (width - left) * (1 - (now - at) / span);
  const y = (value) => (height - bottom) * (1 - value / top) + 4;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height + 4}`, class: "chart", role: "img" });
  const last = lines.map(([name, , points]) => `${name} ${points.length ? show(points.at(-1)[1]) : "unknown"}`);
  picture.setAttribute("aria-label", `${last.join(", ")} ${unit}`);
  for (const share of [0, 0.5, 1]) {
    const at = y(share * top);
    picture.append(svg("line", { class: "axis", x1: left, x2: width, y1: at, y2: at }));
    picture.append(svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, show(share * top)));
  }
  for (const share of [1, 0.5, 0]) {
    const anchor = share === 1 ? "start" : share === 0 ? "end" : "middle";
    const text = share ? `-${show((share * span) / 60)} min` : "now";
    picture.append(svg("text", { x: x(now - share * span), y: height + 2, "text-anchor": anchor }, text));
  }
  for (const [, classes, points] of lines) {
    for (const run of runs(points)) {
      const inside = run.filter(([at]) => at >= now - span);
      if (inside.length === 1) inside.push([inside[0][0] + 10, inside[0][1]]);
      const text = inside.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      picture.append(svg("polyline", { class: classes, points: text }));
    }
  }
  const legend = html("ul", "", "legend");
  for (const [name, classes] of lines) {
    const item = html("li");
    item.append(svg("svg", { viewBox: "0 0 20 10" }, svg("line", { class: classes, x1: 0, x2: 20, y1: 5, y2: 5 })), `${name} (${unit})`);
    legend.append(item);
  }
  const both = html("div");
  both.append(picture, legend);
  return both;
}

/// Points without a gap of more than half a minute between them.
function runs(points) {
  const found = [];
  for (const point of points) {
    const run = found.at(-1);
    if (run && point[0] - run.at(-1)[0] <= 30) run.push(point);
    else found.push([point]);
  }
  return found;
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= value);
}

const show = (value) => (value >= 100 || value === 0 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2));

/// What the network looks at, drawn over the picture: solid what is asked for, dashed the square that it sees.
export function boxes(overlay, views) {
  overlay.setAttribute("viewBox", "0 0 1 1");
  const box = ([x, y, width, height], classes) => svg("rect", { x, y, width, height, class: classes });
  fill(overlay, ...views.flatMap(({ region, area, seen }) => [
    ...(region ? [box(area, "area")] : []),
    ...(seen ? [box(seen, "seen")] : []),
  ]));
}

/// Where a label comes from, as warmth over the square that the network saw.
export function warmth(canvas, why, seen) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [why.columns, why.rows];
  const most = Math.max(...why.values), least = Math.min(0, ...why.values);
  const pixels = small.getContext("2d").createImageData(why.columns, why.rows);
  why.values.forEach((value, i) => {
    const share = Math.max(0, (value - least) / (most - least || 1));
    pixels.data.set([255, 220 * (1 - share), 40, 200 * share * share], 4 * i);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight];
  const [left, top, width, height] = seen;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, left * canvas.width, top * canvas.height, width * canvas.width, height * canvas.height);
}
