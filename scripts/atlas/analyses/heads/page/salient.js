"use strict";
// The salient operations of one head: the tokens that it amplifies most, and what it maps each to, in either sign.
// entry: of explorer_salient.py, or null; i: row of the head; tools: element, unpack and number of the page.
function salientBlock(entry, i, { element, unpack, number }) {
  if (!entry) return null;
  entry.arrays ??= Object.fromEntries(
    ["source", "ratio", "direct", "suppression"].map((name) => [name, unpack(entry[name])]),
  );
  const { source, ratio } = entry.arrays, block = element("div", null, { id: "salient" });
  const quoted = (index) => JSON.stringify(entry.texts[index]);
  const list = (name, cell) =>
    Array.from(entry.arrays[name].slice(cell * entry.mapped, (cell + 1) * entry.mapped)).filter((x) => x >= 0);
  const body = element("tbody", null);
  for (let k = 0; k < entry.count; k++) {
    const cell = i * entry.count + k;
    if (source[cell] < 0) continue;
    const row = element("tr", null);
    row.append(element("th", quoted(source[cell]), { scope: "row" }), element("td", number(ratio[cell])));
    for (const name of ["direct", "suppression"]) row.append(element("td", list(name, cell).map(quoted).join(" ")));
    body.append(row);
  }
  block.append(element("h3", "Salient operations"));
  if (!body.rows.length) {
    block.append(element("p", "none: no weights of this head"));
    return block;
  }
  const head = element("thead", null), titles = element("tr", null), table = element("table", null);
  for (const title of ["token", "norm ratio", "maps to", "suppresses"])
    titles.append(element("th", title, { scope: "col" }));
  head.append(titles);
  table.append(head, body);
  block.append(table);
  return block;
}
