// Teaching: asks for a lesson on the labelled pictures, shows how good its result is, and takes it into use or out of it.
// Without [snapshots] and a state directory there is nothing of it on the page.

import { fill, html, percent } from "./draw.js";

const AGAIN = 5000; // milliseconds
const PATIENCE = 15; // seconds after which somebody should have begun

const by = (id) => document.getElementById(id);
let timer = null;

const when = (seconds) => new Date(1000 * seconds).toLocaleString();

function words({ state, since, now, error, ended, learned }) {
  switch (state) {
    case "asked":
      return `Asked for at ${when(since)}.` + (now - since > PATIENCE ? " Nobody has begun: resnetd-teach.path, of the package resnetd-model, is not installed or does not run." : "");
    case "learning":
      return `Learning since ${when(since)}: about as long as it takes to classify every labelled picture twice.`;
    case "died":
      return `The lesson of ${when(since)} was killed before its end. journalctl -u resnetd-teach says more.`;
    case "ended":
      if (error) return `Nothing was learned at ${when(ended)}: ${error}`;
      break;
  }
  return learned ? "" : "Once two labels or more have some pictures each, the network can learn them.";
}

/// What was learned last, in a sentence.
const result = ({ ended, figures }) =>
  `Learned at ${when(ended)} from ${figures.images} pictures. ${percent(figures.top1)} of them were right when they were judged without having been learned from.`;

/// What runs of that which was accepted.
function use({ active, running }) {
  if (!active) return running ? "The configuration's model comes back." : "";
  return running === active ? `In use: ${active}, which was taught here.` : `Accepted: ${active}. It does not run, or not yet; the log says why.`;
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
  by("active").textContent = use(now);
  by("learned").textContent = now.learned ? result(now.learned) : "";
  by("lesson").hidden = !now.learned;
  fill(by("warnings"), ...(now.learned?.figures.warnings ?? []).map((line) => html("li", line)));
  if (now.learned) table(now.learned.figures.classes);
  by("learn").disabled = now.state === "learning";
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
