// The page of a run. Everything it shows comes from the pipeline's own process: /pipeline once, then /events.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const el = (name, attributes = {}, ...children) => make(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => make(document.createElementNS(SVG, name), attributes, children);

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// ---- numbers for people ----

function short(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value >= 100 ? String(Math.round(value)) : String(Math.round(10 * value) / 10);
}

function millis(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 0.1) return `${(value * 1000).toFixed(0)} µs`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${Math.round(value)} ms` : `${short(value / 1000)} s`;
}

function clock(seconds, tenths = false) {
  const total = Math.max(0, seconds);
  const hours = Math.floor(total / 3600), minutes = Math.floor(total / 60) % 60;
  const rest = tenths ? (total % 60).toFixed(1).padStart(4, "0") : String(Math.floor(total % 60)).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);

// ---- light and dark ----

const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = null;
try { theme = localStorage.getItem("percept-theme"); } catch { /* a browser that keeps nothing */ }

function paint() {
  document.documentElement.dataset.theme = theme ?? (dark.matches ? "dark" : "light");
}

dark.addEventListener("change", paint);
$("theme").addEventListener("click", () => {
  theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("percept-theme", theme); } catch { /* likewise */ }
  paint();
});
paint();

// ---- the graph: a layer for each step, long links go around what lies between ----

const NODE = { height: 54, gap: 40, least: 132, most: 250, aside: 22 };
let outline = null;
let nodes = [];
let wires = [];

/// The layer of each stage: one below the lowest of what it reads.
function layers(stages, links) {
  const layer = stages.map(() => 0);
  for (let pass = 0; pass < stages.length; pass++) {
    for (const { from, to, feedback } of links) {
      if (!feedback && layer[to] <= layer[from]) layer[to] = layer[from] + 1;
    }
  }
  return layer;
}

/// Rows of places: a stage, or a bend of a link that goes on to a lower row.
function arrange(stages, links) {
  const layer = layers(stages, links);
  const rows = Array.from({ length: Math.max(0, ...layer) + 1 }, () => []);
  const places = stages.map((_, stage) => ({ stage, above: [] }));
  stages.forEach((_, stage) => rows[layer[stage]].push(places[stage]));
  const routes = links.map(({ from, to, feedback }) => {
    const route = [places[from]];
    if (!feedback) {
      for (let row = layer[from] + 1; row < layer[to]; row++) {
        const bend = { above: [route.at(-1)] };
        rows[row].push(bend);
        route.push(bend);
      }
      places[to].above.push(route.at(-1));
    }
    route.push(places[to]);
    return route;
  });
  rows.forEach((row) => {
    row.forEach((place, index) => {
      const above = place.above.map((other) => other.order);
      place.order = above.length ? above.reduce((sum, order) => sum + order, 0) / above.length : index;
    });
    row.sort((a, b) => a.order - b.order).forEach((place, index) => { place.order = index - (row.length - 1) / 2; });
  });
  return { rows, routes };
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/// Gives the places of a row their x: below what they read where there is room, else side by side.
function place(row, start, total, own) {
  const space = 14;
  row.forEach((spot, index) => {
    const before = row[index - 1];
    const stages = spot.above.filter((above) => above.stage !== undefined);
    const above = stages.length ? stages : spot.above;
    spot.wish = above.length ? mean(above.map((other) => other.x)) : start + own(spot) / 2;
    start += own(spot) + space;
    spot.x = before ? Math.max(spot.wish, before.x + (own(before) + own(spot)) / 2 + space) : spot.wish;
  });
  // Stages keep to the middle of their wishes; a link that goes around makes way.
  const stages = row.filter((spot) => spot.stage !== undefined);
  const shift = stages.length ? mean(stages.map((spot) => spot.wish - spot.x)) : 0;
  let right = total;
  for (const spot of [...row].reverse()) {
    spot.x = Math.min(spot.x + shift, right - own(spot) / 2);
    right = spot.x - own(spot) / 2 - space;
  }
  let left = 0;
  for (const spot of row) {
    spot.x = Math.max(spot.x, left + own(spot) / 2);
    left = spot.x + own(spot) / 2 + space;
  }
}

function draw() {
  const { stages, links } = outline;
  const { rows, routes } = arrange(stages, links);
  const graph = $("graph");
  const wide = (row) => row.filter((place) => place.stage !== undefined).length;
  const room = Math.max(280, graph.clientWidth - 4);
  const fits = rows.map((row) => (room - (row.length - wide(row)) * NODE.aside * 2 - (row.length - 1) * 14) / Math.max(1, wide(row)));
  const width = Math.min(NODE.most, Math.max(NODE.least, Math.min(...fits)));
  const widths = rows.map((row) => wide(row) * width + (row.length - wide(row)) * NODE.aside * 2 + (row.length - 1) * 14);
  const total = Math.max(room, ...widths);
  rows.forEach((row, level) => place(row, (total - widths[level]) / 2, total, (spot) => (spot.stage === undefined ? NODE.aside * 2 : width)));
  rows.forEach((row, level) => row.forEach((spot) => { spot.top = level * (NODE.height + NODE.gap) + 2; }));
  const height = rows.length * (NODE.height + NODE.gap) - NODE.gap + 4;
  const canvas = el("div", { });
  canvas.style.width = `${total}px`;
  canvas.style.height = `${height}px`;
  const lines = svg("svg", { class: "wires", width: total, height, "aria-hidden": "true" });
  canvas.append(lines);
  wires = links.map((link, index) => {
    const route = routes[index];
    const d = link.feedback ? back(route) : curve(route);
    const path = svg("path", { class: "pulse", d });
    lines.append(svg("path", { class: link.feedback ? "wire feedback" : "wire", d }), path);
    const [a, b] = [route[0], route[1]];
    const tag = el("span", { class: "tag", title: `${link.name}: ${link.format}, queue of ${link.queue}, ${link.overflow}` });
    tag.style.left = `${(a.x + b.x) / 2}px`;
    tag.style.top = `${(a.top + NODE.height + b.top) / 2}px`;
    canvas.append(tag);
    return { path, tag };
  });
  nodes = stages.map((stage, index) => {
    const place = rows.flat().find((other) => other.stage === index);
    const kind = stage.kind === stage.id ? stage.role : `${stage.role}: ${stage.kind}`;
    const [rate, took, busy] = [el("span", { class: "num" }), el("span", { class: "num quiet" }), el("i")];
    const node = el("div", { class: "node", "data-role": stage.role }, el("b", { title: stage.id }, stage.id), rate, el("span", { title: kind }, kind), took, busy);
    Object.assign(node.style, { left: `${place.x - width / 2}px`, top: `${place.top}px`, width: `${width}px`, height: `${NODE.height}px` });
    canvas.append(node);
    return { node, rate, took, busy };
  });
  graph.replaceChildren(canvas);
  const roles = [...new Set(stages.map((stage) => stage.role))];
  $("roles").replaceChildren(...roles.map((role) => el("li", { "data-role": role }, role)));
  if (latest) numbers(latest);
}

function curve(route) {
  let path = "";
  route.slice(1).forEach((to, index) => {
    const from = route[index];
    const start = from.top + NODE.height, end = to.top, middle = (start + end) / 2;
    path += `${index ? "L" : "M"}${from.x} ${start}C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${end}`;
    if (to.stage === undefined) path += `L${to.x} ${end + NODE.height}`;
  });
  return path;
}

function back([from, to]) {
  const side = Math.max(from.x, to.x) + 150;
  return `M${from.x} ${from.top + NODE.height}C${side} ${from.top + 90} ${side} ${to.top - 40} ${to.x} ${to.top}`;
}

// ---- the numbers ----

let latest = null;
let ended = false;

function numbers(sample) {
  latest = sample;
  if (!sample.stages) return;
  $("elapsed").textContent = clock(sample.t);
  $("dropped").textContent = short(sample.links.reduce((sum, link) => sum + link.dropped, 0));
  sample.stages.forEach((stage, index) => {
    const shown = nodes[index];
    if (!shown) return;
    const role = outline.stages[index].role;
    const rate = role === "sink" ? stage.in_per_s : stage.out_per_s;
    const sum = role === "sink" ? stage.entered : stage.written;
    shown.rate.textContent = rate > 0 && !ended ? `${short(rate)}/s` : `${short(sum)}`;
    shown.rate.title = `${sum} packets so far`;
    shown.took.textContent = stage.call_ms === null ? "" : millis(stage.call_ms);
    shown.took.title = "mean time of a call";
    shown.busy.style.transform = `scaleX(${ended ? 0 : Math.min(1, stage.busy)})`;
    shown.node.classList.toggle("trouble", stage.lost + stage.skipped + stage.restarts > 0);
  });
  sample.links.forEach((link, index) => {
    const wire = wires[index];
    if (!wire) return;
    wire.path.classList.toggle("flows", link.per_s > 0 && !ended);
    const words = [];
    if (link.depth > 1) words.push(`${short(link.depth)} waiting`);
    if (link.dropped > 0) words.push(`${short(link.dropped)} dropped`);
    wire.tag.textContent = words.join(", ");
    wire.tag.hidden = words.length === 0;
    wire.tag.className = `tag${link.dropped > 0 ? " drops" : link.depth * 2 > outline.links[index].queue ? " waits" : ""}`;
  });
  if ($("numbers").closest("details").open) table(sample);
  more(sample.left_out);
}

function table(sample) {
  const head = ["stage", "in", "out", "in/s", "out/s", "call", "busy", "skipped", "lost", "restarts"];
  const rows = sample.stages.map((stage, index) => el("tr", {},
    el("th", { scope: "row" }, outline.stages[index].id),
    ...[short(stage.entered), short(stage.written), short(stage.in_per_s), short(stage.out_per_s), millis(stage.call_ms),
      percent(stage.busy), stage.skipped, stage.lost, stage.restarts].map((value) => el("td", {}, String(value)))));
  const links = sample.links.map((link, index) => el("tr", {},
    el("th", { scope: "row" }, outline.links[index].name),
    ...[short(link.per_s), `${link.depth} of ${outline.links[index].queue}`, link.deepest, link.dropped, link.superseded]
      .map((value) => el("td", {}, String(value)))));
  const header = (names) => el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name))));
  $("numbers").replaceChildren(
    el("table", {}, header(head), el("tbody", {}, ...rows)),
    el("table", {}, header(["link", "packets/s", "waiting", "most", "dropped", "superseded"]), el("tbody", {}, ...links)));
}

$("numbers").closest("details").addEventListener("toggle", () => latest?.stages && table(latest));

// ---- results, newest on top ----

const MOST = 200;
const rows = new Map();
let count = 0;

function result(found) {
  const port = outline.ports[found.port]?.name ?? "";
  const row = el("li", found.partial ? { class: "partial" } : {});
  row.append(el("time", {}, found.end - found.start >= 0.1 ? `${clock(found.start, true)} – ${clock(found.end, true)}` : clock(found.start, true)));
  if (found.labels) row.append(bars(found.labels));
  else if (found.regions) row.append(el("span", { class: "said" }, regions(found)));
  else row.append(el("span", { class: "said" }, found.text || "…"));
  row.append(el("span", { class: "sure" }, found.confidence !== undefined && !found.labels ? percent(found.confidence) : ""));
  const version = found.weights ? `, weights ${found.weights}` : "";
  row.append(el("span", { class: "from" }, `${port}${version} · ${found.stream}`));
  const before = found.key && rows.get(found.key);
  if (before?.isConnected) before.replaceWith(row);
  else {
    $("results").prepend(row);
    $("count").textContent = short(++count);
  }
  if (found.key) rows.set(found.key, row);
  while ($("results").children.length > MOST) $("results").lastChild.remove();
  if (rows.size > 4 * MOST) rows.forEach((kept, key) => kept.isConnected || rows.delete(key));
  $("no-results").hidden = true;
  if (found.regions) overlay(found);
}

const named = (label) => label.name ?? `class ${label.index}`;

function bars(labels) {
  const list = el("div", { class: "bars said" });
  for (const label of labels.slice(0, 5)) {
    const bar = el("span", { class: "bar" });
    bar.style.setProperty("--part", `${Math.max(0, Math.min(1, label.score ?? 0)) * 100}%`);
    list.append(el("span", { title: named(label) }, named(label)), bar, el("span", {}, percent(label.score)));
  }
  return list;
}

function regions(found) {
  if (!found.regions.length) return "nothing found";
  const counts = new Map();
  for (const region of found.regions) {
    const name = region.label ? named(region.label) : "region";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, times]) => (times > 1 ? `${times} × ${name}` : name)).join(", ");
}

function more(left) {
  let note = $("left-out");
  if (!left) return note?.remove();
  if (!note) $("results").after(note = el("p", { id: "left-out", class: "more" }));
  note.textContent = `${short(left)} more came faster than a page shows them.`;
}

// ---- pictures ----

const frames = new Map();

function frame(shown) {
  let view = frames.get(shown.port);
  if (!view) {
    view = { image: el("img", { alt: "" }), marks: svg("svg", { "aria-hidden": "true" }), name: el("span"), at: el("span") };
    $("frames").append(el("figure", {}, el("div", { class: "frame" }, el("div", {}, view.image, view.marks)), el("figcaption", {}, view.name, view.at)));
    $("pictures").hidden = false;
    frames.set(shown.port, view);
  }
  const port = outline.ports[shown.port]?.name ?? "";
  view.image.src = shown.url;
  view.image.alt = `Picture ${shown.number} of ${port}, ${shown.stream}`;
  view.stream = shown.stream;
  view.name.textContent = `${port} · ${shown.stream}`;
  view.at.textContent = `${shown.width} × ${shown.height}, ${clock(shown.start, true)}, no. ${shown.number}`;
}

/// Boxes and points over the picture of the same stream, unless the pipeline draws them itself.
function overlay(found) {
  for (const [port, view] of frames) {
    const drawn = outline.stages.some((stage) => stage.kind === "annotate" && outline.ports[port].name.split(".")[0] === stage.id);
    if (view.stream !== found.stream || drawn) continue;
    const [width, height] = found.frame;
    view.marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const size = height / 22;
    view.marks.replaceChildren(...found.regions.flatMap((region) => {
      const [x, y, w, h] = region.bounds;
      const words = [region.label && named(region.label), region.track !== null && `#${region.track}`, percent(region.score)];
      return [
        svg("rect", { x, y, width: w, height: h, rx: 3 }),
        svg("text", { x: x + size / 4, y: Math.max(size, y - size / 4), "font-size": size }, words.filter(Boolean).join(" ")),
        ...region.keypoints.map(([cx, cy]) => svg("circle", { cx, cy, r: size / 6 })),
      ];
    }));
  }
}

// ---- curves ----

const PLOTS = {
  confidence: { title: "Confidence", range: () => [0, 1], format: (value) => value.toFixed(2), ticks: [0, 0.5, 1] },
  latency: { title: "Latency", range: (top) => [0, nice(top)], format: millis },
  level: { title: "Level", range: () => [-90, 0], format: (value) => `${Math.round(value)} dB`, ticks: [-90, -60, -30, 0] },
};
const SPANS = [30, 60, 120, 240];
const SPAN = SPANS.at(-1);
const curves = new Map();

function nice(top) {
  const power = 10 ** Math.floor(Math.log10(Math.max(top, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= top) ?? 10 * power;
}

function point(measure, port, at, value) {
  const key = `${measure} ${port}`;
  if (!curves.has(key)) curves.set(key, { measure, port, points: [] });
  const points = curves.get(key).points;
  points.push([at, value]);
  while (points.length && points[0][0] < at - SPAN) points.shift();
}

function plots(now) {
  const span = SPANS.find((span) => span >= now) ?? SPAN;
  const drawn = Object.entries(PLOTS).flatMap(([measure, plot]) => {
    const own = [...curves.values()].filter((curve) => curve.measure === measure).sort((a, b) => a.port - b.port);
    const from = now - span;
    const shown = own.map((curve) => ({ ...curve, points: curve.points.filter(([at]) => at >= from) }));
    return own.length ? [one(plot, shown, from, now)] : [];
  });
  $("curves").hidden = drawn.length === 0;
  $("plots").replaceChildren(...drawn);
}

function one(plot, shown, from, now) {
  const top = Math.max(1, ...shown.flatMap((curve) => curve.points.map((point) => point[1])));
  const [low, high] = plot.range(top);
  const y = (value) => 100 * (1 - (Math.min(high, Math.max(low, value)) - low) / (high - low));
  const x = (at) => (1000 * (at - from)) / (now - from);
  const ticks = plot.ticks ?? [low, (low + high) / 2, high];
  const canvas = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" });
  ticks.forEach((tick) => canvas.append(svg("line", { class: "grid", x1: 0, x2: 1000, y1: y(tick), y2: y(tick) })));
  const title = el("h3", {}, plot.title);
  shown.forEach((curve, index) => {
    // What comes now and then is drawn as points on a line; what comes all the time, as a line with its gaps.
    const rare = curve.points.length * 2 < now - Math.max(from, curve.points[0]?.[0] ?? now);
    let path = "", dots = "", before = -Infinity;
    for (const [at, value] of curve.points) {
      const place = `${x(at).toFixed(1)} ${y(value).toFixed(2)}`;
      path += `${before === -Infinity || (!rare && at - before > 3) ? "M" : "L"}${place}`;
      if (rare || curve.points.length === 1) dots += `M${place}h.01`;
      before = at;
    }
    const hue = `var(--c${index % 6})`;
    for (const [d, name] of [[path, rare ? "line thin" : "line"], [dots, "dots"]]) {
      const drawn = svg("path", { d, class: name });
      drawn.style.setProperty("--hue", hue);
      canvas.append(drawn);
    }
    const last = curve.points.at(-1);
    const note = el("small", {}, `${outline.ports[curve.port]?.name ?? ""} `, el("b", {}, last ? plot.format(last[1]) : "–"));
    note.style.setProperty("--hue", hue);
    title.append(note);
  });
  canvas.setAttribute("aria-label", `${plot.title} over the last ${now - from} seconds: ${title.textContent}`);
  const box = el("div", { class: "box" }, canvas);
  ticks.forEach((tick) => {
    const label = el("span", { class: "y" }, plot.format(tick));
    label.style.top = `${(y(tick) * 110) / 100}px`;
    box.append(label);
  });
  const span = now - from;
  for (const [part, place] of [[0, "first"], [0.5, "middle"], [1, "last"]]) {
    const ago = Math.round(span * (1 - part));
    const label = el("span", { class: `x ${place}` }, ago ? `${ago} s ago` : "now");
    label.style.left = `calc(44px + (100% - 44px) * ${part})`;
    box.append(label);
  }
  return el("div", { class: "plot" }, title, box);
}

// ---- what comes from the pipeline ----

function state(name, words = name) {
  $("state").dataset.state = name;
  $("state").textContent = words;
}

async function begin() {
  const answer = await fetch("pipeline");
  if (!answer.ok) return state("failed", await answer.text());
  outline = await answer.json();
  $("name").textContent = outline.name;
  document.title = `${outline.name} – percept`;
  draw();
  let width = $("graph").clientWidth;
  new ResizeObserver(() => {
    if ($("graph").clientWidth !== width) { width = $("graph").clientWidth; draw(); }
  }).observe($("graph"));
  const source = new EventSource("events");
  const on = (name, action) => source.addEventListener(name, (event) => action(JSON.parse(event.data)));
  on("hello", (hello) => {
    ended = false;
    state("live");
    [curves, rows].forEach((map) => map.clear());
    count = 0;
    $("results").replaceChildren();
    for (const { measure, port, points } of hello.history) points.forEach(([at, value]) => point(measure, port, at, value));
    hello.results.forEach(result);
  });
  on("stats", (sample) => {
    numbers(sample);
    for (const { measure, port, value } of sample.points ?? []) point(measure, port, sample.t, value);
    if (sample.t) plots(sample.t);
  });
  on("result", result);
  on("frame", frame);
  on("lost", (lost) => {
    $("lost").textContent = `${short(lost.frames)} pictures${lost.results ? `, ${short(lost.results)} results` : ""}`;
    $("lost-fact").hidden = false;
  });
  on("ended", (word) => {
    ended = true;
    state(word === "finished" ? "finished" : "failed", word);
    if (latest) numbers(latest);
  });
  source.onerror = () => (ended ? source.close() : state("gone", "no answer: the pipeline has ended, or cannot be reached"));
}

begin().catch((error) => state("failed", String(error)));
