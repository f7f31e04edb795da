// The table of heads, on the page and as a file.

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
    const row = element("tr", null, { "data-chosen": String(i === state.chosen), "data-row": i });
    for (const { name, value, text } of columns()) {
      const cell = element("td", null, text ? { class: "text" } : {});
      if (name === "layer") {
        const place = `${model.layer[i]}.${model.head[i]}`;
        const button = element("button", place, { type: "button", "aria-pressed": String(i === state.chosen) });
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
  at("csv").textContent = `Download ${state.shown.length} heads as CSV`;
}

function markRow() {
  for (const row of at("table").tBodies[0].rows) {
    const chosen = String(Number(row.dataset.row) === state.chosen && state.chosen !== null);
    row.dataset.chosen = chosen;
    row.querySelector("button").setAttribute("aria-pressed", chosen);
  }
}

// The shortest digits that are the same float32, as the page's numbers are.
function digits(value) {
  if (!Number.isFinite(value)) return "";
  for (let places = 1; places < 9; places++) {
    const short = Number(value.toPrecision(places));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

// A text of a spreadsheet: an apostrophe before what it would reckon, quotes around what would end the cell.
function cellOf(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// All heads of the filter, in the order of the table, with the columns' names of the table `heads`.
function csv() {
  const metrics = data.metrics.map(({ name }) => name);
  const lines = [["model", "layer", "head", "label", "relation", "relation_sign", ...metrics]];
  for (const i of sorted()) {
    const best = relationsOf(model, i)[0];
    const texts = [label(model.labelIndex[i]), best?.name ?? "", best?.sign ?? ""].map(cellOf);
    const numbers = metrics.map((name) => digits(model.columns[name][i]));
    lines.push([cellOf(model.key), String(model.layer[i]), String(model.head[i]), ...texts, ...numbers]);
  }
  return lines.map((line) => `${line.join(",")}\n`).join("");
}
