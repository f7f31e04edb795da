// The scatter plot of two measures, and the attention curve of the chosen head.

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

// What a pointer is told of a point of the scatter plot, and of one of the curve.
function pointText(place) {
  const i = state.shown[place], value = (name) => `${names[name]}: ${number(model.columns[name][i])}`;
  return [`Layer ${model.layer[i]}, head ${model.head[i]}`, value(at("scatter-x").value), value(at("scatter-y").value)].join("\n");
}

function curveText(name, place) {
  const { x, y } = bokeh(`curve-${name}`).data;
  return `${name} meaningless tokens\nposition ${x[place]}: ${number(y[place])}`;
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
