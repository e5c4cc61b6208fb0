// Kept pictures: a person chooses some and says what they really are. Without [snapshots] there is nothing of it on the page.

import { clock, fill, html, percent } from "./draw.js";
import { teach } from "./teach.js";

const AGAIN = 30000; // milliseconds
const NOTHING = "nothing"; // what `resnetd-model teach` is told of a picture that shows none of the labels

const by = (id) => document.getElementById(id);
const chosen = new Set();
let oldest = null; // of those that are shown, when older ones were asked for

async function list(before) {
  const answer = await fetch(before ? `snapshots?before=${encodeURIComponent(before)}` : "snapshots");
  return answer.ok ? answer.json() : null;
}

function picture(note) {
  const figure = html("label", "", "kept");
  figure.dataset.note = JSON.stringify(note);
  const box = html("input");
  box.type = "checkbox";
  box.addEventListener("change", () => (box.checked ? chosen.add(note.id) : chosen.delete(note.id)));
  const image = html("img");
  image.loading = "lazy";
  image.src = `snapshots/${note.id}.jpg`;
  image.alt = `${note.camera} at ${clock(note.timestamp)}`;
  const said = `${note.region ? `${note.region}: ` : ""}${note.top} ${percent(note.confidence)}`;
  const really = html("strong", note.label === null ? "" : `is ${note.label}`);
  figure.append(box, image, html("span", said), html("span", `${note.camera}, ${clock(note.timestamp)}`), really);
  return figure;
}

/** `snapshots` as figures; one that is shown already stays the same element. */
function figures(snapshots) {
  const shown = new Map([...by("pictures").children].map((figure) => [figure.dataset.note, figure]));
  return snapshots.map((note) => {
    const figure = shown.get(JSON.stringify(note)) ?? picture(note);
    figure.querySelector("input").checked = chosen.has(note.id);
    return figure;
  });
}

/** Moves nothing where nothing is new: a click or the keyboard may be on its way. */
function replace(found) {
  const shown = by("pictures").children;
  if (found.length !== shown.length || found.some((figure, i) => figure !== shown[i])) fill(by("pictures"), ...found);
}

function show({ snapshots, labels, open, teaches }, more) {
  if (teaches) teach();
  by("kept").hidden = false;
  const counts = Object.entries(labels).map(([label, count]) => `${label} ${count}`);
  by("counts").textContent = `${open} not labelled yet${counts.length ? `; labelled: ${counts.join(", ")}` : ""}`;
  const known = new Set([...Object.keys(labels), ...snapshots.map((note) => note.top)]);
  fill(by("labels"), ...[...known].sort().map((label) => {
    const option = html("option");
    option.value = label;
    return option;
  }));
  if (more) by("pictures").append(...figures(snapshots));
  else replace(figures(snapshots));
  by("older").hidden = snapshots.length === 0;
  if (snapshots.length) oldest = snapshots.at(-1).id;
}

async function refresh() {
  if (document.hidden || chosen.size) return;
  const found = await list().catch(() => null);
  if (found && chosen.size === 0) show(found, false); // nothing moves under the hand that chooses
}

async function judge(label) {
  if (chosen.size === 0) {
    by("answer").textContent = "Choose pictures first.";
    return;
  }
  const body = JSON.stringify({ ids: [...chosen], label });
  const answer = await fetch("snapshots", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  by("answer").textContent = answer.ok ? `${chosen.size} labelled` : await answer.text();
  if (answer.ok) {
    chosen.clear();
    for (const box of by("pictures").querySelectorAll("input")) box.checked = false;
  }
  await refresh();
}

by("judge").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = by("label").value.trim();
  if (label) judge(label);
});
by("nothing").addEventListener("click", () => judge(NOTHING));
by("unknown").addEventListener("click", () => judge(null));
by("all").addEventListener("click", () => {
  for (const box of by("pictures").querySelectorAll("input")) if (!box.checked) box.click();
});
by("older").addEventListener("click", async () => {
  const found = await list(oldest);
  if (found) show(found, true);
});
document.addEventListener("visibilitychange", refresh);

refresh();
const timer = setInterval(() => (by("kept").hidden ? clearInterval(timer) : refresh()), AGAIN);
