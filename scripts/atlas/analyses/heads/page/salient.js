// The salient operations of the chosen head: the tokens that it amplifies most, and what it maps each to, in either sign.

function salientOperations(i) {
  const entry = data.models[state.model].salient;
  if (!entry) return null;
  const kept = ["source", "ratio", "direct", "suppression"];
  entry.arrays ??= Object.fromEntries(kept.map((name) => [name, unpack(entry[name])]));
  const { source, ratio } = entry.arrays, rows = [];
  const quoted = (index) => JSON.stringify(entry.texts[index]);
  const mapped = (name, cell) =>
    Array.from(entry.arrays[name].slice(cell * entry.mapped, (cell + 1) * entry.mapped)).filter((x) => x >= 0);
  for (let k = 0; k < entry.count; k++) {
    const cell = i * entry.count + k;
    if (source[cell] < 0) continue;
    const lists = ["direct", "suppression"].map((name) => mapped(name, cell).map(quoted).join(" "));
    rows.push([quoted(source[cell]), number(ratio[cell]), ...lists]);
  }
  const titles = ["token", "norm ratio", "maps to", "suppresses"];
  const block = section("Salient operations", titles, rows, "none: no weights of this head");
  block.id = "salient";
  return block;
}
