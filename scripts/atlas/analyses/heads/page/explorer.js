"use strict";
// The page's behaviour: one chosen head, a set of picked heads, a filter; everything drawn follows from these three.
const atlas = (() => {
  const NONE = 65535, ROWS = 100;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const at = (id) => document.getElementById(id);
  const data = read("atlas-data");
  const types = { float32: Float32Array, uint16: Uint16Array, uint8: Uint8Array };
  const unpack = ({ type, data: text }) =>
    new types[type](Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const names = Object.fromEntries(data.metrics.map((metric) => [metric.name, metric.label]));
  const signs = Object.fromEntries(data.metrics.map((metric) => [metric.name, metric.sign]));
  const state = { model: 0, chosen: null, picked: null, shown: [], sort: "layer", down: false };
  let model, bokeh;

  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const number = (value) =>
    !Number.isFinite(value) ? "–" : Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  const label = (index) => (index === NONE ? "" : data.labels[index]);

  // ---------------------------------------------------------------------------------------------------------- models
  function load(entry) {
    if (entry.loaded) return entry.loaded;
    const layer = unpack(entry.layer), head = unpack(entry.head), count = layer.length;
    const loaded = {
      key: entry.key, label: entry.label, layer, head, count,
      layers: Math.max(...layer) + 1, heads: Math.max(...head) + 1,
      labelIndex: unpack(entry.label_index), labelNullIndex: unpack(entry.label_null_index),
      columns: Object.fromEntries(Object.entries(entry.columns).map(([name, value]) => [name, unpack(value)])),
      row: new Map(), top: null, curves: null, ranks: {},
    };
    for (let i = 0; i < count; i++) loaded.row.set(layer[i] * loaded.heads + head[i], i);
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

  // --------------------------------------------------------------------------------------------------------- drawing
  function grid(values, keep) {
    const cells = new Float32Array(model.heads * model.layers).fill(NaN);
    for (let i = 0; i < model.count; i++)
      if (!keep || keep[i]) cells[model.head[i] * model.layers + model.layer[i]] = values[i];
    return Bokeh.require("core/util/ndarray").ndarray(cells, { dtype: "float32", shape: [model.heads, model.layers] });
  }

  function maps(keep) {
    const labels = Float32Array.from(model.labelIndex, (index) => (index === NONE ? NaN : index));
    for (const [name, values] of [...data.metrics.map(({ name }) => [name, model.columns[name]]), ["label", labels]]) {
      const shape = { dw: [model.layers], dh: [model.heads] };
      bokeh(`shown-${name}`).data = { image: [grid(values, keep)], ...shape };
      if (keep !== maps.kept || model !== maps.model) bokeh(`all-${name}`).data = { image: [grid(values)], ...shape };
    }
    maps.kept = keep;
    maps.model = model;
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
    for (const place of data.places.filter((name) => name.startsWith("map-"))) {
      const plot = bokeh(place);
      plot.x_range.setv({ start: -0.5, end: model.layers - 0.5 });
      plot.y_range.setv({ start: -0.5, end: model.heads - 0.5 });
    }
  }

  const places = (rows) => ({
    layer: rows.map((i) => model.layer[i]), head: rows.map((i) => model.head[i]),
  });

  function scatter() {
    const [x, y] = [at("scatter-x").value, at("scatter-y").value];
    const points = (rows) => ({ x: rows.map((i) => model.columns[x][i]), y: rows.map((i) => model.columns[y][i]) });
    const inside = new Set(state.shown), rest = [];
    for (let i = 0; i < model.count; i++) if (!inside.has(i)) rest.push(i);
    bokeh("points").data = points(state.shown);
    bokeh("points-hidden").data = points(rest);
    bokeh("points-chosen").data = points(state.chosen === null ? [] : [state.chosen]);
    bokeh("scatter").below[0].axis_label = names[x];
    bokeh("scatter").left[0].axis_label = names[y];
    span("scatter", "x_range", model.columns[x], 0.04);
    span("scatter", "y_range", model.columns[y], 0.04);
  }

  // A range over all finite values, with a margin.
  function span(place, range, values, margin, from) {
    const known = Array.from(values).filter(Number.isFinite);
    const low = from ?? Math.min(...known), high = Math.max(...known);
    if (!known.length) return;
    const extra = margin * (high - low || 1);
    bokeh(place)[range].setv({ start: from ?? low - extra, end: high + extra });
  }

  function curve() {
    const place = state.chosen === null ? undefined : model.curves?.rows.get(state.chosen);
    const first = {}, drawn = [];
    for (const name of ["without", "with"]) {
      const points = { x: [], y: [] };
      if (place !== undefined) {
        const { positions, maximum, share } = model.curves[name];
        positions.forEach((position, k) => {
          const value = (share[place * positions.length + k] / 65535) * maximum[place];
          if (position === 0) first[name] = value;
          if (position > 0 || at("first-token").checked) {
            points.x.push(position);
            points.y.push(value);
          }
        });
      }
      bokeh(`curve-${name}`).data = points;
      drawn.push(points);
    }
    span("curve", "x_range", drawn.flatMap(({ x }) => x), 0.01);
    span("curve", "y_range", drawn.flatMap(({ y }) => y), 0.04, 0);
    at("curve-note").textContent =
      place !== undefined ? `First token: ${number(first.without)} without, ${number(first.with)} with.`
      : state.chosen === null ? "" : `This page holds no curve of this ${model.curves ? "head" : "model"}.`;
  }

  function detail() {
    const i = state.chosen, place = at("detail");
    place.replaceChildren();
    if (i === null) return place.append(element("p", "No head is chosen."));
    place.append(element("h2", `Layer ${model.layer[i]}, head ${model.head[i]} of ${model.label}`));
    const lists = element("div", null, { class: "lists" });
    for (const group of data.groups) {
      const table = element("table", null), rows = [];
      if (group.columns.includes("score")) {
        rows.push(["category", label(model.labelIndex[i]) || "–", ""]);
        rows.push(["against the null", label(model.labelNullIndex[i]) || "–", ""]);
      }
      for (const name of group.columns) {
        const value = model.columns[name][i], ranked = name in names && Number.isFinite(value) && ranks(name);
        rows.push([
          (names[name] ?? name).replaceAll("_", " "), number(value), ranked ? `${ranked.places[i]} of ${ranked.of}` : "",
        ]);
      }
      table.append(tableHead(["", "value", "rank"]), tableBody(rows));
      const block = element("div", null);
      block.append(element("h3", group.data ? `${group.title} (${group.data})` : group.title), table);
      lists.append(block);
    }
    const relations = relationsOf(model, i);
    if (model.top) {
      const block = element("div", null), table = element("table", null);
      block.append(element("h3", "Strongest relations"));
      table.append(
        tableHead(["relation", "sign", "φ", "q"]),
        tableBody(relations.map(({ name, sign, score, q }) => [name, sign, number(score), number(q)])),
      );
      block.append(relations.length ? table : element("p", "none above 0"));
      lists.append(block);
    }
    const salient = salientBlock(data.models[state.model].salient, i, { element, unpack, number });
    if (salient) lists.append(salient);
    place.append(lists);
  }

  function tableHead(titles) {
    const head = element("thead", null), row = element("tr", null);
    row.append(...titles.map((title) => element("th", title, { scope: "col" })));
    head.append(row);
    return head;
  }

  function tableBody(rows) {
    const body = element("tbody", null);
    for (const cells of rows) {
      const row = element("tr", null);
      row.append(...cells.map((cell) => element("td", cell)));
      body.append(row);
    }
    return body;
  }

  // ----------------------------------------------------------------------------------------------------------- table
  function columns() {
    const best = (i) => relationsOf(model, i)[0];
    return [
      { name: "layer", title: "head", text: true, value: (i) => model.layer[i] * model.heads + model.head[i] },
      { name: "category", title: "category", text: true, value: (i) => label(model.labelIndex[i]) },
      { name: "relation", title: "best relation", text: true, value: (i) => best(i)?.name ?? "" },
      ...data.metrics.map(({ name }) => ({ name, title: names[name], value: (i) => model.columns[name][i] })),
    ];
  }

  function sorted() {
    const { value } = columns().find(({ name }) => name === state.sort);
    const order = state.shown.map((i) => [value(i), i]), turn = state.down ? -1 : 1;
    const missing = (key) => key === "" || Number.isNaN(key);
    order.sort(([a, i], [b, j]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b) || i - j; // always last
      return turn * (a < b ? -1 : a > b ? 1 : 0) || i - j;
    });
    return order.map(([, i]) => i);
  }

  function table() {
    const head = element("tr", null);
    for (const { name, title, text } of columns()) {
      const order = state.sort !== name ? "none" : state.down ? "descending" : "ascending";
      const cell = element("th", null, { scope: "col", "aria-sort": order, ...(text ? { class: "text" } : {}) });
      const mark = { none: "", ascending: " ▲", descending: " ▼" }[order];
      const button = element("button", title + mark, { type: "button", "data-sort": name });
      button.addEventListener("click", () => {
        state.down = state.sort === name ? !state.down : !text;
        state.sort = name;
        table();
        at("table").querySelector(`[data-sort="${name}"]`).focus();
      });
      cell.append(button);
      head.append(cell);
    }
    at("table").tHead.replaceChildren(head);
    const rows = sorted().slice(0, ROWS).map((i) => {
      const row = element("tr", null, { "aria-selected": String(i === state.chosen), "data-row": i });
      for (const { name, value, text } of columns()) {
        const cell = element("td", null, text ? { class: "text" } : {});
        if (name === "layer") {
          const button = element("button", `${model.layer[i]}.${model.head[i]}`, { type: "button" });
          button.addEventListener("click", () => choose(i));
          cell.append(button);
        } else cell.textContent = text ? value(i) : number(value(i));
        row.append(cell);
      }
      return row;
    });
    at("table").tBodies[0].replaceChildren(...rows);
    const more = state.shown.length - rows.length;
    at("more").textContent = more > 0 ? `${more} more heads: sort or filter to see them.` : "";
  }

  // --------------------------------------------------------------------------------------------------------- changes
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

  function tapped(place, x, y) {
    if (place === "scatter") {
      const { x_range: across, y_range: up } = bokeh("scatter");
      const [first, second] = [at("scatter-x").value, at("scatter-y").value].map((name) => model.columns[name]);
      const far = (i) =>
        ((first[i] - x) / (across.end - across.start)) ** 2 + ((second[i] - y) / (up.end - up.start)) ** 2;
      const near = state.shown.filter((i) => far(i) < 0.0006).sort((a, b) => far(a) - far(b))[0];
      return near === undefined ? null : choose(near);
    }
    const i = model.row.get(Math.round(x) * model.heads + Math.round(y));
    if (i !== undefined && Math.round(y) >= 0 && Math.round(y) < model.heads) choose(i);
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

  // ----------------------------------------------------------------------------------------------------------- start
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
  return { tapped, boxed };
})();
