// All that is known of the chosen head.

// What is shown of head i, in this order. Each gives an element, or null where the model has nothing of it.
const SECTIONS = [...data.groups.map((group) => (i) => numbersOf(group, i)), strongestRelations, salientOperations];

function detail() {
  const i = state.chosen, place = at("detail");
  place.replaceChildren();
  if (i === null) return place.append(element("p", "No head is chosen."));
  const title = element("h2", `Layer ${model.layer[i]}, head ${model.head[i]} of `), link = element("p", null);
  title.append(own(model.label));
  link.append(element("a", "Link to this head", { href: address() }));
  place.append(title, link);
  const lists = element("div", null, { class: "lists" });
  lists.append(...SECTIONS.map((section) => section(i)).filter(Boolean));
  place.append(lists);
}

// A section: its heading and a table, or a sentence where the table has no rows; and what its measures are.
function section(title, titles, rows, none, about = []) {
  const block = element("div", null), table = element("table", null);
  table.append(tableHead(titles), tableBody(rows));
  block.append(element("h3", title), rows.length ? table : element("p", none), ...about);
  return block;
}

const called = (name) => (names[name] ?? name).replaceAll("_", " ");

// What the columns of a group are, folded away, with a link to the page that says more.
function definitionsOf(group) {
  const folded = element("details", null), list = element("dl", null), more = element("p", "More: ");
  for (const name of group.columns) list.append(element("dt", called(name)), element("dd", data.definitions[name].means));
  more.append(docsOf(group.page));
  folded.append(element("summary", "What these are"), list, more);
  return folded;
}

function numbersOf(group, i) {
  const rows = [];
  if (group.columns.includes("score")) {
    rows.push(["category", label(model.labelIndex[i]) || "–", ""]);
    rows.push(["against the null", label(model.labelNullIndex[i]) || "–", ""]);
  }
  for (const name of group.columns) {
    const value = model.columns[name][i], ranked = name in names && Number.isFinite(value) && ranks(name);
    rows.push([
      called(name), number(value), ranked ? `${ranked.places[i]} of ${ranked.of}` : "",
    ]);
  }
  const title = group.data ? `${group.title} (${group.data})` : group.title;
  return section(title, ["measure", "value", "rank"], rows, "", [definitionsOf(group)]);
}

function strongestRelations(i) {
  if (!model.top) return null;
  const rows = relationsOf(model, i).map(({ name, sign, score, q }) => [name, sign, number(score), number(q)]);
  return section("Strongest relations", ["relation", "sign", "φ", "q"], rows, "none above 0");
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
    row.append(...cells.map((cell, k) => (k ? element("td", cell) : element("th", cell, { scope: "row" }))));
    body.append(row);
  }
  return body;
}
