// The maps of all heads, and what a pointer does in them.

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
