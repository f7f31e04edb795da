// The page: one chosen head, a set of picked heads, a filter; everything drawn follows from these three.

function filter() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const category = at("category").value, top = Number(at("top").value), measure = ranks(at("top-metric").value);
  state.shown = [];
  const keep = new Uint8Array(model.count);
  for (let i = 0; i < model.count; i++) {
    const text = model.text[i];
    const found = words.every((word) => (/^\d+\.\d+$/.test(word) ? text.split(" ")[0] === word : text.includes(word)));
    if (!found || (category && label(model.labelIndex[i]) !== category)) continue;
    if (top > 0 && !(measure.places[i] <= top)) continue;
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

function choose(i) {
  state.chosen = i;
  bokeh("chosen").data = places(i === null ? [] : [i]);
  bokeh("points-chosen").data =
    i === null ? { x: [], y: [] }
    : { x: [model.columns[at("scatter-x").value][i]], y: [model.columns[at("scatter-y").value][i]] };
  for (const row of at("table").tBodies[0].rows) row.setAttribute("aria-selected", String(Number(row.dataset.row) === i));
  detail();
  curve();
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
  filter();
  choose(null);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return clear();
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (step) {
    event.preventDefault();
    const from = state.chosen === null ? [-step[0], -step[1]] : [model.layer[state.chosen], model.head[state.chosen]];
    const [layer, head] = [from[0] + step[0], from[1] + step[1]];
    const i = head >= 0 && head < model.heads ? model.row.get(layer * model.heads + head) : undefined;
    if (i !== undefined) choose(i);
  } else if (event.key === "m") switchModel(state.model + 1);
  else if (event.key === "/") {
    event.preventDefault();
    at("search").focus();
  }
}

const fill = (id, entries) =>
  at(id).append(...entries.map(([value, text]) => element("option", text, { value })));

async function start() {
  const metrics = data.metrics.map(({ name, label: title }) => [name, title]);
  fill("model", data.models.map((entry, index) => [String(index), entry.label]));
  fill("category", [["", "all"], ...data.labels.map((name) => [name, name])]);
  for (const id of ["top-metric", "scatter-x", "scatter-y"]) fill(id, metrics);
  at("scatter-y").selectedIndex = Math.min(1, metrics.length - 1);
  data.labels.forEach((name, i) => at("legend").append(element("span", name, { style: `--colour:${data.colours[i]}` })));
  for (const place of data.places) if (!at(place)) at("maps").append(element("div", null, { id: place }));

  const json = read("atlas-document"), ids = json.roots.map(({ id }) => id);
  const roots = Object.fromEntries(ids.map((id, i) => [id, data.places[i]]));
  await Bokeh.embed.embed_items({ atlas: json }, [{ docid: "atlas", roots, root_ids: ids }]);
  const drawn = Bokeh.documents[0], known = new Map();
  bokeh = (name) => {
    if (!known.has(name)) known.set(name, drawn.get_model_by_name(name));
    return known.get(name);
  };

  at("model").addEventListener("change", () => switchModel(Number(at("model").value)));
  for (const id of ["search", "top"]) at(id).addEventListener("input", filter);
  for (const id of ["category", "top-metric"]) at(id).addEventListener("change", filter);
  for (const id of ["scatter-x", "scatter-y"]) at(id).addEventListener("change", scatter);
  at("first-token").addEventListener("change", curve);
  at("clear").addEventListener("click", clear);
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", key);
  switchModel(0);
  document.body.dataset.ready = "true";
}
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
