// The maps of all heads, and what a pointer, a key or a button does in them.

const MAPS = [
  ...data.metrics.map(({ name, label: title, unit }) => ({ name, title, unit, ...data.definitions[name] })),
  {
    name: "label", title: "category", unit: "", page: data.groups.find(({ columns }) => columns.includes("score"))?.page,
    means: "The category whose relations the head implements (φ above tau); Unclassified: none.",
  },
];
const titleOf = ({ title, unit }) => (unit ? `${title} (${unit})` : title);
const mapOf = (name) => MAPS.find((map) => map.name === name);

// The frame of one map: its name, what may be done with it, what it shows, and the place where Bokeh draws.
function frame(map) {
  const { name, title } = map, buttons = element("div", null, { class: "buttons" });
  const button = (text, says, act) => {
    const made = element("button", text, { type: "button", "aria-label": `${says} ${title}` });
    made.addEventListener("click", () => act(made));
    buttons.append(made);
  };
  button("Larger", "Larger map of", (made) => enlarge(name, made));
  button("PNG", "PNG picture of", () => savePicture(name, "png"));
  button("SVG", "SVG picture of", () => savePicture(name, "svg"));
  const about = element("details", null), text = element("p", `${map.means} `), caption = element("figcaption", null);
  if (map.page) text.append(docsOf(map.page));
  about.append(element("summary", "What it is"), text);
  caption.append(element("h3", titleOf(map)), buttons, about);
  const drawing = element("div", null, {
    id: `map-${name}`, class: "drawing", tabindex: 0, role: "application", "aria-describedby": "keys",
    "aria-label": `Map of ${title}, layer across, head upwards`,
  });
  drawing.addEventListener("keydown", (event) => mapKey(event, name));
  const made = element("figure", null, { id: `figure-${name}` });
  made.append(caption, drawing);
  return made;
}

function grid(values, keep) {
  const cells = new Float32Array(model.heads * model.layers).fill(NaN);
  for (let i = 0; i < model.count; i++)
    if (!keep || keep[i]) cells[model.head[i] * model.layers + model.layer[i]] = values[i];
  return Bokeh.require("core/util/ndarray").ndarray(cells, { dtype: "float32", shape: [model.heads, model.layers] });
}

const valuesOf = (name) =>
  name === "label" ? Float32Array.from(model.labelIndex, (index) => (index === NONE ? NaN : index)) : model.columns[name];

function maps(keep) {
  for (const { name } of MAPS) {
    const shape = { dw: [model.layers], dh: [model.heads] }, values = valuesOf(name);
    bokeh(`shown-${name}`).data = { image: [grid(values, keep)], ...shape };
    if (keep !== maps.kept || model !== maps.model) bokeh(`all-${name}`).data = { image: [grid(values)], ...shape };
  }
  maps.kept = keep;
  maps.model = model;
}

// The heads without a value, whole layers as one rectangle; none where the model has no value at all, which is said.
function blanks(values) {
  const found = { x: [], y: [], width: [], height: [] }, missing = new Map();
  for (let i = 0; i < model.count; i++) {
    if (Number.isFinite(values[i])) continue;
    if (!missing.has(model.layer[i])) missing.set(model.layer[i], []);
    missing.get(model.layer[i]).push(model.head[i]);
  }
  const add = (x, y, height) => [["x", x], ["y", y], ["width", 1], ["height", height]].forEach(([k, v]) => found[k].push(v));
  for (const [layer, heads] of missing) {
    if (heads.length === model.perLayer.get(layer)) add(layer, (model.heads - 1) / 2, model.heads);
    else for (const head of heads) add(layer, head, 1);
  }
  return values.some(Number.isFinite) ? found : { x: [], y: [], width: [], height: [] };
}

function scales() {
  for (const { name, diverging } of data.metrics) {
    const values = model.columns[name].filter(Number.isFinite), colours = bokeh(`colours-${name}`);
    // From 0: a scale that began at the least value would make any difference look like everything.
    let low = Math.min(0, ...values), high = Math.max(0, ...values);
    if (diverging) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    colours.setv({ low, high: high > low ? high : low + 1 });
    bokeh(`none-${name}`).visible = !values.length;
    bokeh(`bar-${name}`).visible = values.length > 0;
  }
  bokeh("none-label").visible = model.labelIndex.every((index) => index === NONE);
  for (const { name } of MAPS) bokeh(`blank-${name}`).data = blanks(valuesOf(name));
  const blank = [...model.blankLayers];
  at("blank").textContent = !blank.length ? "" :
    `Layers ${blank.join(", ")} have no attention, so their heads have no values: they are hatched, not 0.`;
  whole();
}

// --------------------------------------------------------------------------------------------------------------- values
function describe(name, i) {
  const lines = [`Layer ${model.layer[i]}, head ${model.head[i]}`], map = mapOf(name), best = relationsOf(model, i)[0];
  const value = valuesOf(name)[i];
  if (!Number.isFinite(value))
    lines.push(`${map.title}: no value${model.blankLayers.has(model.layer[i]) ? ", this layer has no attention" : ""}`);
  else if (name !== "label") {
    const { places: order, of } = ranks(name);
    lines.push(`${map.title}: ${number(value)}${map.unit ? ` ${map.unit}` : ""}, rank ${order[i]} of ${of}`);
  }
  if (label(model.labelIndex[i])) lines.push(label(model.labelIndex[i]));
  if (best) lines.push(`${best.name}, ${best.sign}: φ ${number(best.score)}`);
  return lines;
}

function headAt(x, y) {
  const [layer, head] = [Math.round(x), Math.round(y)];
  return head >= 0 && head < model.heads ? model.row.get(layer * model.heads + head) : undefined;
}

function mapText(name, x, y) {
  const i = headAt(x, y);
  return i === undefined ? "no such head" : describe(name, i).join("\n");
}

// ----------------------------------------------------------------------------------------------------------------- zoom
function ranges() {
  return [[bokeh("layers"), model.layers], [bokeh("heads"), model.heads]];
}

function whole() {
  for (const [range, size] of ranges()) range.setv({ bounds: [-0.5, size - 0.5], start: -0.5, end: size - 0.5 });
}

// A part of all maps, a factor smaller (or larger) than now, around the chosen head or the middle.
function zoom(factor) {
  const centre = state.chosen === null ? null : [model.layer[state.chosen], model.head[state.chosen]];
  ranges().forEach(([range, size], axis) => {
    const width = Math.min(size, Math.max(Math.min(size, 2), (range.end - range.start) * factor));
    const middle = centre ? centre[axis] : (range.start + range.end) / 2;
    const start = Math.min(Math.max(middle - width / 2, -0.5), size - 0.5 - width);
    range.setv({ start, end: start + width });
  });
}

// The chosen head comes into sight where the maps show a part.
function follow(i) {
  [model.layer[i], model.head[i]].forEach((value, axis) => {
    const [range] = ranges()[axis], moved = Math.min(value - 0.5 - range.start, 0) + Math.max(value + 0.5 - range.end, 0);
    if (moved) range.setv({ start: range.start + moved, end: range.end + moved });
  });
}

// What dragging does in all plots; nothing leaves a finger and the wheel to the page.
function dragging(kind) {
  for (const place of data.places) {
    for (const name of ["pick", "zoom", "move", "wheel"]) {
      const tool = bokeh(`${name}-${place}`);
      if (tool) tool.active = name === kind || (name === "wheel" && (kind === "zoom" || kind === "move"));
    }
  }
}

function enlarge(name, button) {
  const large = at(`figure-${name}`).classList.toggle("large");
  bokeh(`map-${name}`).height = large ? 560 : 200;
  button.setAttribute("aria-pressed", String(large));
  measure(name);
}

// ------------------------------------------------------------------------------------------------------------- pictures
const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

async function savePicture(name, type) {
  const plot = bokeh(`map-${name}`);
  plot.title.setv({ text: `${titleOf(mapOf(name))}, ${model.label}`, visible: true });
  await painted();
  const layer = Bokeh.index.find_one_by_id(plot.id).export(type);
  download(await layer.to_blob(), `${model.key}_${name}.${type}`);
  plot.title.visible = false;
}

// ------------------------------------------------------------------------------------------------------------- pointing
function tapped(place, x, y) {
  if (place === "scatter") {
    const { x_range: across, y_range: up } = bokeh("scatter");
    const [first, second] = [at("scatter-x").value, at("scatter-y").value].map((name) => model.columns[name]);
    const far = (i) =>
      ((first[i] - x) / (across.end - across.start)) ** 2 + ((second[i] - y) / (up.end - up.start)) ** 2;
    const near = state.shown.filter((i) => far(i) < 0.0006).sort((a, b) => far(a) - far(b))[0];
    return near === undefined ? null : choose(near);
  }
  const i = headAt(x, y);
  measure(place.slice(4));
  if (i !== undefined) choose(i);
}

function boxed(place, { x0, x1, y0, y1 }) {
  const [first, second] =
    place === "scatter" ? [at("scatter-x").value, at("scatter-y").value] : ["layer", "head"];
  const [across, up] = [model.columns[first], model.columns[second]], found = new Set();
  const within = (value, a, b) => value >= Math.min(a, b) && value <= Math.max(a, b);
  for (let i = 0; i < model.count; i++) if (within(across[i], x0, x1) && within(up[i], y0, y1)) found.add(i);
  state.picked = found.size ? found : null;
  filter();
}

// Only while a map has the focus: everywhere else these keys are the page's own.
function mapKey(event, name) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  const act = { m: () => switchModel(state.model + 1), "+": () => zoom(0.5), "-": () => zoom(2), 0: whole }[event.key];
  if (!step && !act) return;
  event.preventDefault();
  if (act) return act();
  const from = state.chosen === null ? [-step[0], -step[1]] : [model.layer[state.chosen], model.head[state.chosen]];
  const i = headAt(Math.max(from[0] + step[0], -1), from[1] + step[1]);
  measure(name);
  if (i !== undefined) choose(i, { run: true });
}
