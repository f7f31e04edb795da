// The page's address says which head of which model is chosen, and by which measure: #model=..&measure=..&layer=..&head=..

function address() {
  const parts = new URLSearchParams({ model: model.key, measure: state.measure });
  if (state.chosen !== null) {
    parts.set("layer", model.layer[state.chosen]);
    parts.set("head", model.head[state.chosen]);
  }
  return `#${parts}`;
}

// A new entry of the browser's history; where `same` is true, the last one is changed (a run of arrow keys is one step).
function remember(same = false) {
  if (remember.paused || location.hash === address()) return;
  if (same && remember.running) location.replace(address());
  else location.hash = address();
  remember.running = same;
}

// Show what the address says: on opening the page, on a link within it, on back and forward.
function obey() {
  const parts = new URLSearchParams(location.hash.slice(1)), wrong = [];
  const given = (name) => (parts.has(name) ? parts.get(name) : null);
  let index = 0;
  if (given("model") !== null) {
    index = data.models.findIndex(({ key }) => key === given("model"));
    if (index < 0) wrong.push(`no model ${given("model")}`);
  }
  remember.paused = true;
  if (index >= 0 && index !== state.model) switchModel(index);
  const named = given("measure");
  if (named !== null && !mapOf(named)) wrong.push(`no measure ${named}`);
  else if (named !== null) measure(named);
  let row = null;
  if (!wrong.length && given("layer") !== null) {
    const [layer, head] = [given("layer"), given("head") ?? ""];
    row = /^\d+$/.test(layer) && /^\d+$/.test(head) ? headAt(Number(layer), Number(head)) : undefined;
    if (row === undefined) wrong.push(`no head ${layer}.${head} of ${model.label}`);
  }
  if (row !== state.chosen) choose(row ?? null);
  remember.paused = false;
  at("notice").textContent = wrong.length ? `The address names what this page does not have: ${wrong.join("; ")}.` : "";
}
