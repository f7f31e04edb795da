// The page: one chosen head, a set of picked heads, a filter; everything drawn follows from these three.

function filter() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const category = at("category").value, top = Number(at("top").value), strongest = ranks(at("top-metric").value);
  state.shown = [];
  const keep = new Uint8Array(model.count);
  for (let i = 0; i < model.count; i++) {
    const text = model.text[i];
    const found = words.every((word) => (/^\d+\.\d+$/.test(word) ? text.split(" ")[0] === word : text.includes(word)));
    if (!found || (category && label(model.labelIndex[i]) !== category)) continue;
    if (top > 0 && !(strongest.places[i] <= top)) continue;
    if (state.picked && !state.picked.has(i)) continue;
    keep[i] = 1;
    state.shown.push(i);
  }
  at("count").textContent = `${state.shown.length} of ${model.count} heads`;
  maps(keep);
  bokeh("picked").data = places(state.picked ? [...state.picked] : []);
  scatter();
  table();
}

// The map that was last used: the address names it, and its frame shows it.
function measure(name) {
  state.measure = name;
  for (const map of MAPS) at(`figure-${map.name}`).classList.toggle("current", map.name === name);
}

// run: one of many steps by keys, which the history keeps as one.
function choose(i, { run = false } = {}) {
  state.chosen = i;
  bokeh("chosen").data = places(i === null ? [] : [i]);
  bokeh("points-chosen").data =
    i === null ? { x: [], y: [] }
    : { x: [model.columns[at("scatter-x").value][i]], y: [model.columns[at("scatter-y").value][i]] };
  if (i !== null) follow(i);
  markRow();
  detail();
  curve();
  remember(run);
  at("said").textContent = i === null ? "" : describe(state.measure, i).join(". ");
}

function switchModel(index) {
  const before = state.chosen === null ? null : [model.layer[state.chosen], model.head[state.chosen]];
  state.model = (index + data.models.length) % data.models.length;
  at("model").value = String(state.model);
  model = load(data.models[state.model]);
  state.picked = null;
  scales();
  filter();
  choose(before ? model.row.get(before[0] * model.heads + before[1]) ?? null : null);
}

function clear() {
  for (const id of ["search", "category", "top"]) at(id).value = "";
  state.picked = null;
  whole();
  filter();
  choose(null);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return clear();
  if (event.key !== "/" || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  event.preventDefault();
  at("search").focus();
}

// ---------------------------------------------------------------------------------------------------------------- start
const fill = (id, entries) =>
  at(id).append(...entries.map(([value, text]) => element("option", text, { value, dir: "auto" })));

function listen() {
  at("model").addEventListener("change", () => switchModel(Number(at("model").value)));
  for (const id of ["search", "top"]) at(id).addEventListener("input", filter);
  for (const id of ["category", "top-metric"]) at(id).addEventListener("change", filter);
  for (const id of ["scatter-x", "scatter-y"]) at(id).addEventListener("change", scatter);
  at("first-token").addEventListener("change", curve);
  at("clear").addEventListener("click", clear);
  at("drag").addEventListener("change", () => dragging(at("drag").value));
  at("zoom-in").addEventListener("click", () => zoom(0.5));
  at("zoom-out").addEventListener("click", () => zoom(2));
  at("zoom-whole").addEventListener("click", () => [whole(), scatter(), curve()]);
  at("csv").addEventListener("click", () => download(new Blob([csv()], { type: "text/csv" }), `${model.key}_heads.csv`));
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", key);
  addEventListener("hashchange", obey);
}

// Bokeh makes its canvas a stop of the tab key, nameless; the maps' own frames are the stops.
function nameStops(place) {
  const canvas = at(place).querySelector("*")?.shadowRoot?.querySelectorAll("*") ?? [];
  for (const inside of canvas)
    for (const stop of inside.shadowRoot?.querySelectorAll("[tabindex]") ?? []) stop.tabIndex = -1;
}

async function start() {
  const metrics = data.metrics.map(({ name, label: title }) => [name, title]);
  fill("model", data.models.map((entry, index) => [String(index), entry.label]));
  fill("category", [["", "all"], ...data.labels.map((name) => [name, name])]);
  for (const id of ["top-metric", "scatter-x", "scatter-y"]) fill(id, metrics);
  at("scatter-y").selectedIndex = Math.min(1, metrics.length - 1);
  data.labels.forEach((name, i) => at("legend").append(element("li", name, { style: `--colour:${data.colours[i]}` })));
  at("maps").append(...MAPS.map(frame));

  const json = read("atlas-document"), ids = json.roots.map(({ id }) => id);
  const roots = Object.fromEntries(ids.map((id, i) => [id, data.places[i]]));
  await Bokeh.embed.embed_items({ atlas: json }, [{ docid: "atlas", roots, root_ids: ids }]);
  const drawn = Bokeh.documents[0], known = new Map();
  bokeh = (name) => {
    if (!known.has(name)) known.set(name, drawn.get_model_by_name(name));
    return known.get(name);
  };
  data.places.forEach(nameStops);
  // With a finger, dragging scrolls the page until its reader chooses otherwise.
  at("drag").value = matchMedia("(pointer: coarse)").matches ? "nothing" : "pick";
  dragging(at("drag").value);
  listen();
  remember.paused = true;
  measure(MAPS[0].name);
  switchModel(0);
  obey();
  if (location.hash && state.chosen !== null) at("detail").scrollIntoView();
  document.body.dataset.ready = "true";
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
