"use strict";
// Everything that a model or a user wrote reaches the page as text nodes alone, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const turns = data.turns;
const byId = (id) => document.getElementById(id);
const tree = byId("tree");
const reader = byId("reader");
const state = { chosen: null, other: null, comparing: false, folded: new Set(), openReasoning: false, words: "" };

const children = turns.map(() => []);
turns.forEach((turn, n) => { if (turn.parent !== null) children[turn.parent].push(n); });
const below = turns.map(() => 0);
for (let n = turns.length - 1; n >= 0; n--) if (turns[n].parent !== null) below[turns[n].parent] += below[n] + 1;
const texts = turns.map((turn) => [turn.id, ...turn.asked, ...turn.answered]
  .map((piece) => typeof piece === "string" ? piece : `${piece.name} ${piece.text}`).join("\n").toLowerCase());

function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...content.filter((piece) => piece !== null && piece !== undefined));
  return made;
}

function branch(n) {
  const way = [];
  for (let at = n; at !== null; at = turns[at].parent) way.push(at);
  return way.reverse();
}

// --- the tree ---------------------------------------------------------------------------------------------------

const roots = turns.filter((turn) => turn.parent === null).length;
let conversation = 0;
const rails = { "⋯ ": "rail", "│ ": "rail line", "├─": "rail tee", "└─": "rail end", "  ": "rail" };
const rows = turns.map((turn, n) => {
  const knob = element("button", {
    class: "knob", tabindex: "-1", disabled: !children[n].length, "aria-label": "Fold or unfold",
    onclick: (event) => { event.stopPropagation(); fold(n, !state.folded.has(n)); },
  });
  const chips = [];
  if (turn.head) chips.push(element("span", { class: "chip head" }, "head"));
  for (const fact of turn.notes) chips.push(element("span", { class: "chip warn" }, fact));
  if (turn.backend) chips.push(element("span", { class: "chip" }, turn.backend));
  for (const label of turn.labels) chips.push(element("span", { class: "chip label-chip" }, label));
  const row = element("div", {
    class: "row", role: "treeitem", tabindex: "-1", "aria-level": turn.rails.length / 2 + 1, title: turn.id,
    onclick: (event) => choose(n, event.shiftKey || event.ctrlKey || event.metaKey),
  },
  ...(turn.rails.match(/../g) || []).map((rail) => element("span", { class: rails[rail] })), knob,
  element("div", { class: "label" }, element("div", { class: turn.asked[0]?.kind === "tool" ? "asked tool" : "asked" }, turn.asked_line || "(nothing)"),
    element("div", { class: "answered" }, turn.answered_line || "(no answer)")),
  element("div", { class: "facts" }, ...chips));
  if (turn.parent === null && roots > 1) {
    conversation += 1;
    tree.append(element("div", { class: "conversation", role: "presentation" }, `Conversation ${conversation} of ${roots}`));
  }
  // Through the object model, which the page's policy allows; an attribute would be refused.
  if (turn.colour) row.style.boxShadow = `inset 4px 0 ${turn.colour}`;
  row.classList.toggle("first", turn.parent === null);
  row.classList.toggle("above", turn.parent !== null && children[turn.parent].length === 1);
  tree.append(row);
  return row;
});

function fold(n, folded) {
  if (folded) state.folded.add(n); else state.folded.delete(n);
  showRows();
}

function showRows() {
  const hidden = turns.map(() => false);
  turns.forEach((turn, n) => {
    if (turn.parent !== null) hidden[n] = hidden[turn.parent] || state.folded.has(turn.parent);
    const folded = state.folded.has(n);
    const row = rows[n];
    row.hidden = hidden[n];
    row.classList.toggle("folded", folded);
    row.classList.toggle("below", children[n].length > 0 && !folded);
    if (children[n].length) row.setAttribute("aria-expanded", String(!folded));
    const more = row.querySelector(".more");
    if (more) more.remove();
    if (folded) row.querySelector(".facts").prepend(element("span", { class: "chip more" }, `+${below[n]}`));
  });
}

function markWay() {
  const first = new Set(state.chosen === null ? [] : branch(state.chosen));
  const second = new Set(state.other === null ? [] : branch(state.other));
  rows.forEach((row, n) => {
    row.classList.toggle("way", first.has(n) || second.has(n));
    row.classList.toggle("shared", first.has(n) && second.has(n));
    row.classList.toggle("other", second.has(n) && !first.has(n));
    row.classList.toggle("chosen", n === state.chosen || n === state.other);
    row.setAttribute("aria-selected", String(n === state.chosen || n === state.other));
    row.tabIndex = n === state.chosen || (state.chosen === null && n === 0) ? 0 : -1;
  });
}

function choose(n, beside = false) {
  if ((beside || state.comparing) && state.chosen !== null && n !== state.chosen) state.other = n;
  else { state.chosen = n; state.other = null; }
  state.comparing = false;
  for (let at = turns[n].parent; at !== null; at = turns[at].parent) state.folded.delete(at);
  showRows();
  markWay();
  read();
  rows[n].scrollIntoView({ block: "nearest" });
  const ids = [state.chosen, state.other].filter((one) => one !== null).map((one) => encodeURIComponent(turns[one].id));
  history.replaceState(null, "", `#${ids.join("&")}`);
}

// --- the reader -------------------------------------------------------------------------------------------------

function marked(text) {
  if (!state.words) return [text];
  const pieces = [];
  const lower = text.toLowerCase();
  // Lower case can change the length of a text; then its places would not be those of the text itself.
  if (lower.length !== text.length) return [text];
  let from = 0;
  for (let at = lower.indexOf(state.words); at >= 0; at = lower.indexOf(state.words, from)) {
    pieces.push(text.slice(from, at), element("mark", {}, text.slice(at, at + state.words.length)));
    from = at + state.words.length;
  }
  return [...pieces, text.slice(from)];
}

function foldedText(label, kind, piece, open) {
  const words = piece.text.trim().split(/\s+/).length;
  const found = state.words && piece.text.toLowerCase().includes(state.words);
  return element("details", { class: `folded-text ${kind}`, open: open || Boolean(found) },
    element("summary", {}, `${label} · ${words} ${words === 1 ? "word" : "words"}`),
    element("div", { class: "said" }, ...marked(piece.text)));
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function images(piece) {
  return piece.images.map((address) => /^data:image\/(png|jpeg|gif|webp);base64,/.test(address)
    ? element("img", { src: address, alt: "Picture in the prompt" }) : element("div", {}, `Picture: ${address.slice(0, 200)}`));
}

const labels = { user: "User", system: "System", tool: "Tool output", call: "Calls", answer: "", preamble: "Preamble",
  refusal: "Refuses", other: "Item" };

function passage(piece) {
  if (piece.kind === "reasoning") return foldedText("Reasoning", "reasoning", piece, state.openReasoning);
  const label = piece.kind === "call" ? `Calls ${piece.name}` : labels[piece.kind];
  const text = piece.kind === "call" || piece.kind === "tool" || piece.kind === "other" ? pretty(piece.text) : piece.text;
  return element("div", { class: `said ${piece.kind}` }, label ? element("span", { class: "who" }, ...marked(label)) : null,
    element("span", { class: "text" }, ...marked(text)), ...images(piece));
}

function turnOf(n) {
  const turn = turns[n];
  const before = turn.parent === null ? null : turns[turn.parent];
  const content = [];
  if (turn.instructions !== null && (!before || before.instructions !== turn.instructions))
    content.push(foldedText("System message", "instructions", { text: data.instructions[turn.instructions] }, false));
  content.push(...turn.asked.map(passage), ...turn.answered.map(passage));
  const id = element("button", { class: "id", title: `Copy ${turn.id}`, onclick: () => copy(id, turn.id) }, turn.short);
  const facts = [turn.tokens, turn.model, turn.time, ...turn.notes, ...turn.labels].filter(Boolean);
  return element("article", { class: "turn" }, ...content,
    element("div", { class: "foot" }, id, ...facts.map((fact) => element("span", {}, fact))));
}

function copy(button, id) {
  const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = id.slice(0, 40); }, 900); };
  if (navigator.clipboard) navigator.clipboard.writeText(id).then(done, () => { button.textContent = id; });
  else button.textContent = id;
}

function read() {
  reader.replaceChildren();
  if (state.chosen === null) {
    reader.append(element("p", { class: "nothing" }, "Choose a turn to read the conversation up to it."));
    return;
  }
  const first = branch(state.chosen);
  const compare = element("button", {
    "aria-pressed": String(state.comparing),
    onclick: () => { state.comparing = !state.comparing; read(); },
  }, state.comparing ? "Now choose the other branch" : "Compare with…");
  if (state.other === null) {
    const count = `${first.length} ${first.length === 1 ? "turn" : "turns"} up to ${turns[state.chosen].short}`;
    reader.append(element("div", { class: "bar" }, element("span", { class: "what" }, count), compare),
      element("div", { class: "column" }, ...first.map(turnOf)));
    reader.scrollTop = reader.scrollHeight;
    const last = reader.querySelector(".turn:last-child");
    if (last) last.scrollIntoView({ block: "start" });
    reader.scrollTop -= 60;
    return;
  }
  const second = branch(state.other);
  let shared = 0;
  while (shared < first.length && first[shared] === second[shared]) shared++;
  const close = element("button", { onclick: () => choose(state.chosen) }, "Close comparison");
  const together = shared
    ? element("details", { class: "shared-turns" },
      element("summary", {}, `${shared} shared ${shared === 1 ? "turn" : "turns"} before the fork`),
      ...first.slice(0, shared).map(turnOf))
    : element("p", { class: "nothing" }, "These two share no turn.");
  const column = (way, n) => element("div", { class: "column" },
    element("h2", {}, `${turns[n].short} · ${way.length - shared} of its own`),
    ...(way.length > shared ? way.slice(shared).map(turnOf) : [element("p", { class: "nothing" }, "The fork itself.")]));
  reader.append(element("div", { class: "bar" }, element("span", { class: "what" }, "Two branches side by side"), compare, close),
    together, element("div", { class: "columns" }, column(first, state.chosen), column(second, state.other)));
  reader.scrollTop = 0;
}

// --- search -----------------------------------------------------------------------------------------------------

const found = { turns: [], at: -1 };

function search() {
  state.words = byId("search").value.trim().toLowerCase();
  found.turns = state.words ? turns.map((_, n) => n).filter((n) => texts[n].includes(state.words)) : [];
  found.at = -1;
  const matching = new Set(found.turns);
  rows.forEach((row, n) => row.classList.toggle("match", matching.has(n)));
  tree.classList.toggle("searching", Boolean(state.words));
  showCount();
  read();
}

function showCount() {
  const total = found.turns.length;
  byId("matches").value = !state.words ? "" : !total ? "none" : found.at < 0 ? `${total} found` : `${found.at + 1} of ${total}`;
  byId("next").disabled = byId("previous").disabled = !total;
}

function step(by) {
  if (!found.turns.length) return;
  found.at = found.at < 0 && by < 0 ? found.turns.length - 1 : (found.at + by + found.turns.length) % found.turns.length;
  choose(found.turns[found.at]);
  showCount();
  const mark = [...reader.querySelectorAll(".turn:last-child mark")][0];
  if (mark) mark.scrollIntoView({ block: "center" });
}

// --- controls ---------------------------------------------------------------------------------------------------

byId("search").addEventListener("input", search);
byId("search").addEventListener("keydown", (event) => { if (event.key === "Enter") step(event.shiftKey ? -1 : 1); });
byId("next").addEventListener("click", () => step(1));
byId("previous").addEventListener("click", () => step(-1));
byId("fold").addEventListener("click", () => {
  turns.forEach((turn, n) => { if (turn.parent !== null && children[turn.parent].length > 1 && children[n].length) state.folded.add(n); });
  showRows();
});
byId("unfold").addEventListener("click", () => { state.folded.clear(); showRows(); });
byId("reasoning").addEventListener("click", (event) => {
  state.openReasoning = !state.openReasoning;
  event.currentTarget.setAttribute("aria-pressed", String(state.openReasoning));
  for (const details of reader.querySelectorAll("details.reasoning")) details.open = state.openReasoning;
});
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
tree.addEventListener("keydown", (event) => {
  const n = rows.indexOf(document.activeElement);
  if (n < 0) return;
  const visible = rows.map((_, m) => m).filter((m) => !rows[m].hidden);
  const place = visible.indexOf(n);
  const to = { ArrowDown: visible[place + 1], ArrowUp: visible[place - 1], Home: visible[0], End: visible[visible.length - 1] };
  if (event.key in to) { if (to[event.key] !== undefined) go(to[event.key]); }
  else if (event.key === "ArrowLeft") { if (children[n].length && !state.folded.has(n)) fold(n, true); else if (turns[n].parent !== null) go(turns[n].parent); }
  else if (event.key === "ArrowRight") { if (state.folded.has(n)) fold(n, false); else if (children[n].length) go(children[n][0]); }
  else if (event.key === "Enter" || event.key === " ") choose(n, event.shiftKey);
  else return;
  event.preventDefault();
});
function go(n) { choose(n); rows[n].focus(); }
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !(document.activeElement instanceof HTMLInputElement)) { event.preventDefault(); byId("search").focus(); }
});

const indexes = new Map(turns.map((turn, n) => [turn.id, n]));
const [one, two] = location.hash.slice(1).split("&").map((id) => indexes.get(decodeURIComponent(id)));
showRows();
if (one !== undefined) { choose(one); if (two !== undefined) choose(two, true); }
else if (turns.length) choose(Math.max(0, turns.findIndex((turn) => turn.head)));
else read();
