// Teaching: asks for a lesson on the labelled pictures, shows how good its result is, and takes it into use or out of it.
// Without [snapshots] and a state directory there is nothing of it on the page.

import { clock, fill, html, percent } from "./draw.js";

const AGAIN = 5000; // milliseconds
const PATIENCE = 15; // seconds after which somebody should have begun

const by = (id) => document.getElementById(id);
let timer = null;

function words({ state, since, error, ended, figures }) {
  const late = Date.now() / 1000 - since > PATIENCE;
  switch (state) {
    case "asked":
      return `Asked for at ${clock(since)}.` + (late ? " Nobody has begun: resnetd-teach.path, which waits for it, comes with the package resnetd-model." : "");
    case "learning":
      return `Learning since ${clock(since)}: about as long as it takes to classify every labelled picture twice.`;
    case "died":
      return `The lesson of ${clock(since)} was killed before its end. journalctl -u resnetd-teach says more.`;
    case "ended":
      if (error) return `Nothing was learned at ${clock(ended)}: ${error}`;
      return `Learned at ${clock(ended)} from ${figures.images} pictures. ${percent(figures.top1)} of them were right when they were judged without having been learned from.`;
    default:
      return "Once two labels or more have some pictures each, the network can learn them.";
  }
}

function table(classes) {
  fill(by("lesson").querySelector("tbody"), ...classes.map(({ label, images, precision, recall }) => {
    const row = html("tr");
    const name = html("th", label);
    name.scope = "row";
    const share = (value) => html("td", value === null ? "-" : percent(value), "number");
    row.append(name, html("td", images, "number"), share(precision), share(recall));
    return row;
  }));
}

function show(now) {
  by("teach").hidden = false;
  by("lesson-state").textContent = words(now);
  by("active").textContent = now.active ? `In use: ${now.active}, which was taught here.` : "";
  const learned = now.state === "ended" && !now.error;
  by("lesson").hidden = !learned;
  fill(by("warnings"), ...(learned ? now.figures.warnings : []).map((line) => html("li", line)));
  if (learned) table(now.figures.classes);
  by("learn").disabled = now.state === "asked" || now.state === "learning";
  by("accept").hidden = !now.offered;
  by("back").hidden = !now.active;
}

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch("teach").catch(() => null);
  if (answer?.ok) show(await answer.json());
}

/// Shows how far the lesson is, from the first call on.
export function teach() {
  if (timer) return;
  timer = setInterval(refresh, AGAIN);
  document.addEventListener("visibilitychange", refresh);
  refresh();
}

async function order(name) {
  const body = JSON.stringify({ do: name });
  const answer = await fetch("teach", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  by("teach-answer").textContent = answer.ok ? "" : await answer.text();
  await refresh();
}

for (const name of ["learn", "accept", "back"]) by(name).addEventListener("click", () => order(name));
