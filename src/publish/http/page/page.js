// What is known, and how it comes: /state for what was, /events for what is new. Each camera draws itself when something of
// it changes. A picture is only asked for while somebody can see it.

import { bars, boxes, chart, clock, figures, fill, html, percent, span, timeline, warmth } from "./draw.js";

const STATE_EVERY = 10000; // milliseconds: as often as the history has something new
const WHY_EVERY = 1000;
const RETRY = 2000;
const TROUBLE = { camera_lost: "The camera is gone", stale: "The camera delivers nothing", stopping: "resnetd is stopping" };

const by = (id) => document.getElementById(id);
const cameras = new Map();
let model = null;

class Camera {
  constructor(name) {
    this.name = name;
    this.element = by("camera").content.firstElementChild.cloneNode(true);
    this.looks = new Map();
    this.scene = null;
    this.paused = false;
    this.asking = false;
    this.state = "starting";
    this.find("h2").textContent = name;
    this.video = this.find(".video");
    this.video.alt = `What the camera ${name} sees now`;
    this.video.addEventListener("error", () => setTimeout(() => this.play(), RETRY));
    this.find(".pause").addEventListener("click", () => this.pause(!this.paused));
    this.find(".why").addEventListener("click", () => this.ask(!this.asking));
    by("cameras").append(this.element);
    this.play();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  query(more = {}) {
    return new URLSearchParams({ camera: this.name, ...more }).toString();
  }

  /// Asks for the moving picture, or lets go of it.
  play() {
    if (this.paused || document.hidden) this.video.removeAttribute("src");
    else this.video.src = `stream.mjpg?${this.query({ t: Date.now() })}`;
  }

  pause(paused) {
    this.paused = paused;
    const button = this.find(".pause");
    button.setAttribute("aria-pressed", paused);
    button.textContent = paused ? "Go on" : "Pause";
    this.play();
  }

  ask(asking) {
    this.asking = asking;
    this.find(".why").setAttribute("aria-pressed", asking);
    this.find(".heat").hidden = !asking;
    this.find(".note").textContent = "";
    if (asking) this.explain();
  }

  /// Has the first part's label explained, again and again while that is wanted.
  async explain() {
    if (!this.asking) return;
    if (!document.hidden) {
      const view = this.scene?.views[0];
      const note = this.find(".note");
      try {
        const answer = await fetch(`why?${this.query(view?.region ? { region: view.region } : {})}`);
        if (!answer.ok) throw new Error(await answer.text());
        const why = await answer.json();
        await refresh();
        const seen = this.scene?.views[0]?.seen;
        if (this.asking && seen) {
          warmth(this.find(".heat"), why, seen);
          note.textContent = `Warm is what speaks for ${why.class}.`;
        }
      } catch (error) {
        note.textContent = error.message;
      }
    }
    setTimeout(() => this.explain(), WHY_EVERY);
  }

  look(region) {
    let look = this.looks.get(region);
    if (!look) {
      look = by("look").content.firstElementChild.cloneNode(true);
      look.querySelector("h3").textContent = region || "Labels";
      this.looks.set(region, look);
      this.find(".looks").append(look);
    }
    return look;
  }

  classified(message) {
    bars(this.look(message.region ?? "").querySelector(".bars"), message.predictions, message.top);
    const label = this.find(".stage .label");
    const told = [...this.told(message)].map(([region, text]) => (region ? `${region}: ${text}` : text));
    label.textContent = told.join(" · ");
    const turned = (this.scene?.rotate ?? 0) % 180 !== 0;
    const { width, height } = message.image;
    this.find(".stage").style.aspectRatio = `${width} / ${height}`;
    this.place(turned, width / height);
    this.timing = message.timing;
  }

  /// What holds in each part.
  told(message) {
    this.holds ??= new Map();
    const all = message.labels?.map((one) => one.class).join(", ");
    this.holds.set(message.region ?? "", `${all || message.top} ${percent(message.confidence)}`);
    return this.holds;
  }

  /// Turns the picture upright: its box is that of the upright picture.
  place(turned, aspect) {
    const { rotate = 0, flip = "none" } = this.scene ?? {};
    this.video.style.width = turned ? `${100 / aspect}%` : "100%";
    this.video.style.height = turned ? `${100 * aspect}%` : "100%";
    const mirror = flip === "horizontal" ? " scaleX(-1)" : flip === "vertical" ? " scaleY(-1)" : "";
    this.video.style.transform = `translate(-50%, -50%)${mirror} rotate(${rotate}deg)`;
  }

  status(message) {
    const back = TROUBLE[this.state] && message.state === "streaming";
    this.state = message.state;
    const alarm = this.find(".alarm");
    const trouble = TROUBLE[message.state];
    alarm.hidden = !trouble;
    alarm.textContent = trouble ? `${trouble}${message.detail ? `: ${message.detail}` : ""}` : "";
    this.find(".stage").classList.toggle("lost", Boolean(trouble));
    if (back) this.play();
  }

  /// Of /state: what it counted, how it looks, what its hour was like.
  remember(about, history, now) {
    this.scene = about.scene;
    if (about.scene) boxes(this.find(".boxes"), about.scene.views);
    const timelines = history.timelines.filter((one) => one.camera === this.name);
    const shown = span(Math.min(now, ...timelines.flatMap(({ labels }) => labels.map(({ since }) => since))), now);
    this.find(".span").textContent = `The last ${shown < 3600 ? `${shown / 60} minutes` : "hour"}`;
    fill(this.find(".timelines"), ...timelines.flatMap(({ region, labels }) => [
      ...(region ? [html("p", region)] : []),
      timeline(labels, now, shown),
    ]));
    const changes = timelines.flatMap(({ region, labels }) => labels.map((held) => ({ region, ...held })));
    changes.sort((a, b) => b.since - a.since);
    fill(this.find(".changes ol"), ...changes.slice(0, 100).map(({ since, region, label, confidence }) =>
      html("li", `${clock(since)}  ${region ? `${region}: ` : ""}${label ?? "nothing seen"}${label ? ` ${percent(confidence)}` : ""}`)));
    const intervals = history.charts.find((one) => one.camera === this.name)?.intervals ?? [];
    const whole = intervals.slice(1).filter((one) => one.at + 10 <= now); // the first was begun in the middle
    this.charts(whole, now, shown);
    this.figures(about, whole.at(-1));
  }

  charts(intervals, now, shown) {
    const points = (value) => intervals.map((one) => [one.at, value(one)]);
    const stages = [
      ["inference", "a", points((one) => one.inference_ms)],
      ["preparation", "b", points((one) => one.preprocess_ms)],
      ["capture", "c", points((one) => one.capture_ms)],
      ["age when told", "d", points((one) => one.age_ms)],
    ];
    const rate = [
      ["classified", "a", points((one) => one.frames / 10)],
      ["dropped", "b", points((one) => one.dropped / 10)],
    ];
    fill(this.find(".charts"), chart(stages, now, shown, "ms"), chart(rate, now, shown, "frames a second"));
  }

  figures(about, last) {
    figures(this.find(".side > .figures"), [
      ["frames a second", last ? (last.frames / 10).toFixed(1) : null],
      ["inference", this.timing ? `${this.timing.inference_ms.toFixed(1)} ms` : null],
      ["age when told", this.timing ? `${this.timing.age_ms.toFixed(0)} ms` : null],
      ["captured", about.captured],
      ["dropped", about.dropped],
      ["still", about.still],
      ["unreadable", about.unreadable || null],
    ]);
  }
}

function camera(name) {
  if (!cameras.has(name)) cameras.set(name, new Camera(name));
  return cameras.get(name);
}

const hear = {
  hello(message) {
    for (const [name, gone] of cameras) {
      if (!message.cameras.includes(name)) {
        gone.pause(true);
        gone.ask(false);
        gone.element.remove();
        cameras.delete(name);
      }
    }
    message.cameras.forEach(camera);
  },
  model(message) {
    model = message;
    const { name, arch, precision, labels } = message.model;
    by("model").textContent = `${name} (${arch}, ${precision}, ${labels} labels)`;
    by("why-model").textContent = `${name} since ${clock(message.timestamp)}: ${message.detail}`;
    const rows = message.others.map(({ name, avg_ms, rss_mib }) => {
      const row = html("tr");
      row.append(html("td", name), html("td", avg_ms.toFixed(1), "number"), html("td", rss_mib.toFixed(0), "number"));
      return row;
    });
    by("others").hidden = rows.length === 0;
    fill(by("others").querySelector("tbody"), ...rows);
  },
  status: (message) => camera(message.camera).status(message),
  classification: (message) => camera(message.camera).classified(message),
  change(message) {
    by("said").textContent = `${message.camera}${message.region ? ` ${message.region}` : ""}: ${message.to}`;
    soon();
  },
  lagged() {},
};

let pending = null;

/// A change is to be seen in the timeline, but not once for each of many.
function soon() {
  pending ??= setTimeout(() => {
    pending = null;
    refresh();
  }, 1000);
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("state");
    if (!answer.ok) return;
    const state = await answer.json();
    for (const about of state.cameras) camera(about.camera).remember(about, state.history, state.now);
    figures(by("machine"), [
      ["version", state.version],
      ["temperature", state.celsius === null ? null : `${state.celsius.toFixed(0)} °C`],
      ["slowed down", state.throttled === null ? null : state.throttled ? "yes" : "no"],
      ["memory", state.resident_bytes === null ? null : `${(state.resident_bytes / 1048576).toFixed(0)} MiB`],
      ["programs on the socket", state.subscribers],
    ]);
    const heat = state.history.heat.map(({ at, celsius }) => [at, celsius]);
    by("heat-title").hidden = heat.length === 0;
    if (heat.length) fill(by("heat"), chart([["processor", "b", heat]], state.now, span(heat[0][0], state.now), "°C"));
  } catch {
    // the events say that the link is gone
  }
}

function link(state, text) {
  by("link").className = `pill ${state}`;
  by("link").textContent = text;
}

function connect() {
  const events = new EventSource("events");
  events.onopen = () => {
    link("good", "live");
    refresh();
    cameras.forEach((one) => one.play());
  };
  events.onerror = () => {
    link("bad", "no connection: trying again");
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
  };
  events.onmessage = (event) => {
    const message = JSON.parse(event.data);
    hear[message.type]?.(message);
  };
}

document.addEventListener("visibilitychange", () => {
  cameras.forEach((one) => one.play());
  refresh();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const first = cameras.values().next().value;
  if (event.key === "w") first?.ask(!first.asking);
  if (event.key === "p") first?.pause(!first.paused);
});

setInterval(refresh, STATE_EVERY);
connect();
