// What the page holds, unpacked model by model; and how values are told.

const NONE = 65535, ROWS = 100;
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const at = (id) => document.getElementById(id);
const data = read("atlas-data");
const types = { float32: Float32Array, uint16: Uint16Array, uint8: Uint8Array };
const unpack = ({ type, data: text }) =>
  new types[type](Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const names = Object.fromEntries(data.metrics.map((metric) => [metric.name, metric.label]));
const signs = Object.fromEntries(data.metrics.map((metric) => [metric.name, metric.sign]));
const state = { model: 0, measure: null, chosen: null, picked: null, shown: [], sort: "layer", down: false };
let model, bokeh;

const element = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const number = (value) =>
  !Number.isFinite(value) ? "–" : Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
// A text of the user's: its own direction, so that Arabic or Hebrew does not turn the words around it.
const own = (text) => element("bdi", text);
const label = (index) => (index === NONE ? "" : data.labels[index]);


function load(entry) {
  if (entry.loaded) return entry.loaded;
  const layer = unpack(entry.layer), head = unpack(entry.head), count = layer.length;
  const loaded = {
    key: entry.key, label: entry.label, layer, head, count,
    layers: Math.max(...layer) + 1, heads: Math.max(...head) + 1,
    labelIndex: unpack(entry.label_index), labelNullIndex: unpack(entry.label_null_index),
    columns: Object.fromEntries(Object.entries(entry.columns).map(([name, value]) => [name, unpack(value)])),
    row: new Map(), perLayer: new Map(), top: null, curves: null, ranks: {}, blankLayers: new Set(entry.blank_layers),
  };
  for (let i = 0; i < count; i++) {
    loaded.row.set(layer[i] * loaded.heads + head[i], i);
    loaded.perLayer.set(layer[i], (loaded.perLayer.get(layer[i]) ?? 0) + 1);
  }
  if (entry.top) {
    const { count: each } = entry.top;
    loaded.top = { each };
    for (const name of ["relation", "direct", "score", "q"]) loaded.top[name] = unpack(entry.top[name]);
  }
  if (entry.curves) {
    loaded.curves = { rows: new Map(Array.from(unpack(entry.curves.heads), (row, place) => [row, place])) };
    for (const name of ["without", "with"]) {
      const { positions, maximum, share } = entry.curves[name];
      loaded.curves[name] = { positions, maximum: unpack(maximum), share: unpack(share) };
    }
  }
  loaded.columns.layer = layer;
  loaded.columns.head = head;
  loaded.text = Array.from({ length: count }, (_, i) => haystack(loaded, i));
  return (entry.loaded = loaded);
}

function relationsOf(source, i) {
  const found = [];
  for (let k = 0; source.top && k < source.top.each; k++) {
    const cell = i * source.top.each + k;
    if (source.top.relation[cell] === NONE) break;
    found.push({
      name: data.relations[source.top.relation[cell]], sign: source.top.direct[cell] ? "direct" : "suppression",
      score: source.top.score[cell], q: source.top.q[cell],
    });
  }
  return found;
}

// What the search looks in: the head's number, its labels, its strongest relation.
function haystack(source, i) {
  const best = relationsOf(source, i)[0];
  return [
    `${source.layer[i]}.${source.head[i]}`, label(source.labelIndex[i]), label(source.labelNullIndex[i]),
    best ? `${best.name} ${best.sign}` : "",
  ].join(" ").toLowerCase();
}

// 1 for the head where the measure is strongest, in the direction that the analysis looks for.
function ranks(name) {
  if (!model.ranks[name]) {
    const values = model.columns[name], sign = signs[name] ?? 1, order = [];
    for (let i = 0; i < model.count; i++) if (Number.isFinite(values[i])) order.push(i);
    order.sort((a, b) => sign * (values[b] - values[a]));
    const places = new Array(model.count).fill(NaN);
    order.forEach((row, place) => {
      const tied = place && values[order[place - 1]] === values[row];
      places[row] = tied ? places[order[place - 1]] : place + 1;
    });
    model.ranks[name] = { places, of: order.length };
  }
  return model.ranks[name];
}

// Where a page of the documentation is: as the option says, or beside the folder of figures that this file is in. Its
// name alone where neither is known.
function docsOf(page) {
  const name = `docs/${page}.md`, at = location.pathname.lastIndexOf("/figures/");
  if (data.docs) return element("a", name, { href: data.docs.replace("{page}", page) });
  if (at < 0 || data.docs_apart || location.protocol === "data:") return element("code", name);
  return element("a", name, { href: `${location.origin === "null" ? "file://" : ""}${location.pathname.slice(0, at)}/${name}` });
}

function download(blob, name) {
  const link = element("a", null, { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]/g, "_") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
