// The search page of `rerank serve`. No library, no build step.
//
// Texts of documents reach the page as text nodes only (`h`), never as markup; the Content-Security-Policy enforces it.
// What can be shared is in the address; the key of the server, the name of the judge and the colours are the browser's.

// ---------------------------------------------------------------------------------------------------------- words

const LANGUAGE = document.documentElement.lang;
const TEXTS = JSON.parse(document.documentElement.dataset.texts);
const plural = new Intl.PluralRules(LANGUAGE);
const numbers = new Intl.NumberFormat(LANGUAGE);

function t(name, values = {}) {
  let text = TEXTS[name];
  if (text === undefined) throw new Error(`no word for ${name}`);
  if (typeof text === "object") text = text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, key) => (typeof values[key] === "number" ? numbers.format(values[key]) : values[key]));
}

const decimal = (value, digits = 2) =>
  value === null || value === undefined
    ? "–"
    : new Intl.NumberFormat(LANGUAGE, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
const probabilityText = (value) => (value === null || value === undefined ? "–" : value < 0.005 ? `< ${decimal(0.01)}` : decimal(value));
const scoreText = (value) => decimal(value, value !== null && Math.abs(value) >= 10 ? 1 : 3);

// ------------------------------------------------------------------------------------------------------- elements

const $ = (id) => document.getElementById(id);

/** Make an element. Properties named `on...` are listeners; strings among the children become text nodes. */
function h(tag, properties = {}, ...children) {
  const element = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name in element && !tag.startsWith("svg:") && !name.includes("-") && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const fill = (element, ...children) => element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
const announce = (text) => ($("live").textContent = text);
const button = (text, onclick, properties = {}) => h("button", { type: "button", onclick, ...properties }, text);

function field(label, control, hint) {
  control.id ||= `control-${++field.count}`;
  return h("div", { class: "field", title: hint }, h("label", { htmlFor: control.id }, label), control);
}
field.count = 0;

function choice(options, chosen, onchange) {
  const select = h("select", { onchange: (event) => onchange(event.target.value) });
  for (const [value, text] of options) select.append(h("option", { value, selected: value === chosen }, text));
  return select;
}

function check(label, checked, onchange) {
  return h("label", { class: "check" }, h("input", { type: "checkbox", checked, onchange: (event) => onchange(event.target.checked) }), h("span", {}, label));
}

function copyButton(text) {
  const element = button(t("copy"), async () => {
    try {
      await navigator.clipboard.writeText(text());
      element.textContent = t("copied");
    } catch {
      element.textContent = t("copy_failed");
    }
    announce(element.textContent);
  }, { class: "quiet" });
  return element;
}

// --------------------------------------------------------------------------------------------------------- server

class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const KEY = "rerank-key";

/** Send a request with the key; ask for one if the server wants it, and send the request again. */
async function send(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers };
    const key = sessionStorage.getItem(KEY);
    if (key) headers.authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure(t("unreachable"), 0);
    }
    if (response.status === 401) {
      await logIn(Boolean(key));
      continue;
    }
    if (!response.ok) throw new Failure(await messageOf(response), response.status);
    return response;
  }
}

async function messageOf(response) {
  try {
    const answer = await response.json();
    return answer.message ?? `HTTP ${response.status}`;
  } catch {
    return `HTTP ${response.status}`;
  }
}

const get = async (path, options) => (await send(path, options)).json();
const post = async (path, body, options = {}) =>
  (await send(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, ...options })).json();

let loggingIn = null;

function logIn(wasWrong) {
  const dialog = $("dialog-login");
  $("login-problem").textContent = wasWrong ? t("login_wrong") : "";
  loggingIn ??= new Promise((resolve) => {
    $("login-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, $("login-key").value.trim());
      $("login-key").value = "";
      loggingIn = null;
      dialog.close();
      resolve();
    };
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
  });
  return loggingIn;
}

async function download(path, fallback) {
  const response = await send(path);
  const named = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("content-disposition") ?? "");
  const url = URL.createObjectURL(await response.blob());
  h("a", { href: url, download: named ? decodeURIComponent(named[1]) : fallback }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// ---------------------------------------------------------------------------------------------------------- state

const DEFAULTS = { view: "", q: "", pipeline: "", with: "", n: "", k: "10", fusion: "", budget: "", precision: "", rerank: "1", fold: "", group: "", f: "", t: "0.05", tool: "prompt" };
let state = { ...DEFAULTS };
let settings = null;
let canJudge = false;

function readAddress() {
  const given = new URLSearchParams(location.search);
  state = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
}

function writeAddress(push = false) {
  const given = new URLSearchParams();
  const language = new URLSearchParams(location.search).get("lang");
  for (const [name, value] of Object.entries(state)) if (value !== DEFAULTS[name]) given.set(name, value);
  const shared = new URLSearchParams(given);
  if (language) given.set("lang", language);
  const address = given.size ? `?${given}` : location.pathname;
  if (address !== (location.search || location.pathname)) history[push ? "pushState" : "replaceState"](null, "", address);
  for (const link of document.querySelectorAll("[data-language]")) {
    const own = new URLSearchParams(shared);
    own.set("lang", link.dataset.language);
    link.href = `?${own}`;
  }
}

const topK = () => Math.min(Math.max(Number.parseInt(state.k, 10) || 10, 1), 100);
const threshold = () => Math.min(Math.max(Number.parseFloat(state.t) || 0, 0), 1);

function chosenFacets() {
  try {
    const given = JSON.parse(state.f || "{}");
    return new Map(Object.entries(given).filter(([, values]) => Array.isArray(values) && values.length));
  } catch {
    return new Map();
  }
}

function filtersOf(facets) {
  const conditions = [...facets].map(([name, values]) => ({ field: `meta.${name}`, operator: "in", value: values }));
  return conditions.length ? { operator: "AND", conditions } : undefined;
}

function searchBody(pipeline = state.pipeline) {
  const body = { query: state.q.trim() };
  if (pipeline) body.pipeline = pipeline;
  if (state.n) body.candidates = Number(state.n);
  if (state.budget) body.time_budget_ms = Number(state.budget);
  if (state.rerank === "0") body.rerank = false;
  if (state.fold) body.collapse = state.fold === "1";
  const filters = filtersOf(chosenFacets());
  if (filters) body.filters = filters;
  return body;
}

function variantBody(name = state.pipeline) {
  const known = settings.pipelines.find((pipeline) => pipeline.name === (name || settings.pipelines[0].name));
  const body = name ? { pipeline: name } : {};
  if (known?.has_ranker && state.fusion) body.fusion = state.fusion;
  if (known?.has_ranker && state.precision) body.precision = state.precision;
  return body;
}

// ---------------------------------------------------------------------------------------------------------- marks

// The server counts characters by code points, JavaScript by UTF-16 units.
const characters = (text) => (/[\ud800-\udfff]/.test(text) ? Array.from(text) : text);
const slice = (text, start, end) => (typeof text === "string" ? text.slice(start, end) : text.slice(start, end).join(""));

/** Return the part of a text from `start` to `end`, with the marks of a hit: the query's words, the best sentence, the window. */
function marked(hit, start = 0, end = Infinity) {
  const text = characters(hit.content);
  end = Math.min(end, text.length);
  const layers = [["window", hit.window ? [hit.window] : []], ["sentence", hit.sentence ? [hit.sentence] : []], ["word", hit.words ?? []]];
  const cuts = new Set([start, end]);
  for (const [, spans] of layers) for (const span of spans) for (const at of span) if (at > start && at < end) cuts.add(at);
  const ordered = [...cuts].sort((a, b) => a - b);
  return ordered.slice(0, -1).map((from, index) => {
    const piece = slice(text, from, ordered[index + 1]);
    const names = layers.filter(([, spans]) => spans.some(([first, last]) => first <= from && from < last)).map(([name]) => name);
    return names.length ? h(names.includes("word") || names.includes("sentence") ? "mark" : "span", { class: `mark-${names.join(" mark-")}` }, piece) : piece;
  });
}

const SNIPPET = 260;

/** Return the piece of a passage that a list shows: around the best sentence, or else the first word of the query. */
function snippet(hit) {
  const text = characters(hit.content);
  const [from, to] = hit.sentence ?? [hit.words?.[0]?.[0] ?? 0, hit.words?.[0]?.[1] ?? 0];
  let start = Math.max(0, Math.min(from - (hit.sentence ? 40 : 80), text.length - SNIPPET));
  if (from - start > 0 && start > 0) {
    const space = slice(text, start, from).search(/\s/);
    start += space < 0 ? 0 : space + 1;
  }
  const end = Math.min(text.length, Math.max(start + SNIPPET, Math.min(to, start + 2 * SNIPPET)));
  return h("p", { class: "snippet", dir: "auto" }, start > 0 ? "… " : "", marked(hit, start, end), end < text.length || hit.characters > text.length ? " …" : "");
}

// ----------------------------------------------------------------------------------------------------------- lists

let found = null; // the answers that are shown: one, or two side by side
let lists = null; // the lists that are made of them
let grades = new Map();

const secondOf = (answer) => (answer.has_second_stage ? [...answer.hits] : []);

function firstOf(answer) {
  const ranked = answer.hits.filter((hit) => hit.first_stage_rank !== null);
  return ranked.sort((a, b) => a.first_stage_rank - b.first_stage_rank);
}

/** Make the two lists that are shown beside each other: rows with a hit, its rank here, and its rank in the other list. */
function makeLists(answers) {
  const [answer, other] = answers;
  if (other) {
    const ranks = answers.map((one) => new Map(one.hits.map((hit) => [hit.id, hit.rank])));
    return answers.map((one, side) => ({
      title: one.pipeline,
      text: "",
      isSecond: side === 1,
      rows: one.hits.map((hit) => ({ hit, rank: hit.rank, other: ranks[1 - side].get(hit.id) ?? null })),
    }));
  }
  if (!answer.has_second_stage) {
    return [{ title: answer.pipeline, text: "", isSecond: true, rows: answer.hits.map((hit) => ({ hit, rank: hit.rank, other: hit.rank })) }];
  }
  return [
    { title: t("first_stage"), text: t("first_stage_of", { pipeline: answer.pipeline }), isSecond: false, rows: firstOf(answer).map((hit) => ({ hit, rank: hit.first_stage_rank, other: hit.rank })) },
    { title: t("second_stage"), text: t("second_stage_of", { pipeline: answer.pipeline }), isSecond: true, rows: secondOf(answer).map((hit) => ({ hit, rank: hit.rank, other: hit.first_stage_rank })) },
  ];
}

function movement(row, isSecond) {
  const k = topK();
  const [from, to] = isSecond ? [row.other, row.rank] : [row.rank, row.other];
  if (lists.length === 1) return null;
  if (row.other === null) return { kind: "out", chip: "–", text: t("dropped") };
  if (isSecond && from > k && to <= k) return { kind: "new", chip: t("new_chip", { from }), text: t("new_in", { k, from }) };
  if (!isSecond && to > k && from <= k) return { kind: "out", chip: `→ ${to}`, text: t("left_top", { k, to }) };
  if (from > to) return { kind: "up", chip: isSecond ? `▲ ${from - to}` : `→ ${to}`, text: t("moved_up", { n: from - to, from, to }) };
  if (from < to) return { kind: "down", chip: isSecond ? `▼ ${to - from}` : `→ ${to}`, text: t("moved_down", { n: to - from, from, to }) };
  return { kind: "same", chip: "=", text: t("stayed", { to }) };
}

function placeOf(hit) {
  const parts = [hit.file, hit.page === null ? null : t("page_number", { n: hit.page }), hit.section].filter(Boolean);
  return h("p", { class: "place muted", dir: "auto", title: hit.source ?? undefined }, parts.join(" · "));
}

function rowElement(row, list, side) {
  const { hit, rank } = row;
  const moved = movement(row, list.isSecond);
  const title = button(hit.title, () => toggle(element, row), { class: "title", dir: "auto", "aria-expanded": "false" });
  const element = h(
    "li",
    { class: `hit ${moved ? `is-${moved.kind}` : ""}`, "data-id": hit.id, "data-side": side, onmouseenter: () => link(hit.id, true), onmouseleave: () => link(hit.id, false), onfocusin: () => link(hit.id, true), onfocusout: () => link(hit.id, false) },
    h("span", { class: "rank", "aria-hidden": "true" }, String(rank)),
    h(
      "div",
      { class: "body" },
      h("div", { class: "headline" }, h("h3", {}, h("span", { class: "sr" }, `${rank}. `), title), moved && h("span", { class: `chip ${moved.kind}`, title: moved.text }, h("span", { "aria-hidden": "true" }, moved.chip), h("span", { class: "sr" }, moved.text)), scoreElement(hit, list)),
      placeOf(hit),
      snippet(hit),
      h("div", { class: "detail", hidden: true }),
      h("div", { class: "actions" }, canJudge && gradeElement(hit), button(t("show_passage"), () => toggle(element, row), { class: "link more" }), button(t("open_document"), () => openDocument(hit.id), { class: "link" })),
    ),
  );
  return element;
}

function scoreElement(hit, list) {
  const answer = found[Math.min(list.isSecond ? found.length - 1 : 0, found.length - 1)];
  if (hit.probability === null || (!list.isSecond && found.length === 1)) {
    const value = list.isSecond || found.length > 1 ? hit.score : hit.first_stage_score;
    const text = hit.is_scored || !list.isSecond ? scoreText(value) : t("not_scored");
    return h("span", { class: "score" }, h("span", { class: "sr" }, `${t("score")} `), text);
  }
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span", {}));
  meter.firstChild.style.width = `${Math.round(100 * hit.probability)}%`;
  return h("span", { class: "score", title: t(answer.is_calibrated ? "probability_calibrated" : "probability_raw") }, h("span", { class: "sr" }, `${t("probability")} `), probabilityText(hit.probability), meter);
}

function toggle(element, row) {
  const detail = element.querySelector(".detail");
  const isOpen = detail.hidden;
  detail.hidden = !isOpen;
  element.classList.toggle("is-open", isOpen);
  element.querySelector(".title").setAttribute("aria-expanded", String(isOpen));
  const more = element.querySelector(".more");
  if (more) more.textContent = t(isOpen ? "hide_passage" : "show_passage");
  if (isOpen) fill(detail, detailElement(row.hit));
  drawLines();
}

function detailElement(hit) {
  const facts = [
    hit.first_stage_rank !== null && t("first_stage_score", { rank: hit.first_stage_rank, score: scoreText(hit.first_stage_score) }),
    hit.probability !== null && t("second_stage_probability", { p: probabilityText(hit.probability) }),
    t("final_score", { rank: hit.rank, score: scoreText(hit.score) }),
    hit.is_partly_read && t("partly_read"),
  ].filter(Boolean);
  const meta = Object.entries(hit.meta ?? {});
  return [
    h("div", { class: "passage", dir: "auto" }, marked(hit)),
    hit.characters > characters(hit.content).length && h("p", { class: "muted" }, t("cut_text", { n: characters(hit.content).length, total: hit.characters })),
    h("p", { class: "legend muted" }, h("mark", { class: "mark-word" }, t("legend_words")), " ", hit.sentence && h("mark", { class: "mark-sentence" }, t("legend_sentence")), " ", hit.window && h("span", { class: "mark-window" }, t("legend_window"))),
    h("h4", {}, t("stage_scores")),
    h("ul", { class: "facts" }, facts.map((fact) => h("li", {}, fact))),
    hit.also_in?.length ? [h("h4", {}, t("also_in")), h("ul", { class: "facts" }, hit.also_in.map((place) => h("li", { dir: "auto" }, Object.values(place).join(" · "))))] : null,
    h("h4", {}, t("metadata")),
    h("dl", { class: "meta" }, [["id", hit.id], ...meta].map(([name, value]) => h("div", {}, h("dt", {}, name === "id" ? t("id") : name), h("dd", { dir: "auto" }, typeof value === "string" ? value : JSON.stringify(value))))),
  ];
}

function listElement(list, side) {
  const k = topK();
  const shown = list.rows.filter((row) => row.rank <= k);
  const beyond = lists.length === 1 ? [] : list.rows.filter((row) => row.rank > k && row.other !== null && row.other <= k);
  const heading = h("h2", { id: `list-${side}` }, list.title);
  const parts = [h("div", { class: "list-head" }, heading, list.text && h("p", { class: "muted" }, list.text))];
  if (state.group === "1") parts.push(groupedElement(shown, list, side));
  else parts.push(h("ol", { class: "hits", "aria-labelledby": `list-${side}` }, shown.map((row) => rowElement(row, list, side))));
  if (beyond.length) {
    const title = list.isSecond ? t(found.length > 1 ? "fell_out_other" : "fell_out", { k }) : t(found.length > 1 ? "fell_out_other" : "further_down", { k });
    parts.push(h("h3", { class: "beyond muted", id: `beyond-${side}` }, title), h("ol", { class: "hits is-beyond", "aria-labelledby": `beyond-${side}` }, beyond.map((row) => rowElement(row, list, side))));
  }
  return h("section", { class: `list ${list.isSecond ? "is-second" : "is-first"}`, "aria-labelledby": `list-${side}` }, parts);
}

function groupedElement(rows, list, side) {
  const groups = new Map();
  for (const row of rows) {
    const name = row.hit.source ?? row.hit.title;
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return [...groups].map(([name, members]) =>
    h("section", { class: "group" }, h("h3", { class: "group-head", dir: "auto", title: name }, members[0].hit.file ?? name, h("span", { class: "muted" }, ` ${t("hits_shown", { n: members.length })}`)), h("ol", { class: "hits" }, members.map((row) => rowElement(row, list, side)))),
  );
}

// The lines between a document's two places, redrawn when anything changes its height.

const gutter = h("svg:svg", { class: "gutter", "aria-hidden": "true" });
let awaitingLines = 0;

function drawLines() {
  cancelAnimationFrame(awaitingLines);
  awaitingLines = requestAnimationFrame(() => {
    fill(gutter);
    if (!gutter.isConnected) return;
    const box = gutter.getBoundingClientRect();
    if (!box.width || !box.height) return;
    gutter.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
    const middle = (element) => {
      const rank = element.querySelector(".rank").getBoundingClientRect();
      return rank.top + rank.height / 2 - box.top;
    };
    const left = new Map([...document.querySelectorAll('#results [data-side="0"]')].map((element) => [element.dataset.id, element]));
    for (const right of document.querySelectorAll('#results [data-side="1"]')) {
      const partner = left.get(right.dataset.id);
      if (!partner) continue;
      const [from, to] = [middle(partner), middle(right)];
      const kind = ["new", "up", "down", "out", "same"].find((name) => right.classList.contains(`is-${name}`));
      const bend = box.width / 2;
      gutter.append(h("svg:path", { d: `M0 ${from}C${bend} ${from} ${bend} ${to} ${box.width} ${to}`, class: `line ${kind}`, "data-id": right.dataset.id }));
    }
  });
}

function link(id, isOn) {
  for (const element of document.querySelectorAll("#results [data-id]")) if (element.dataset.id === id) element.classList.toggle("is-linked", isOn);
}

// --------------------------------------------------------------------------------------------------------- search

let running = null;

async function search(push = true) {
  running?.abort();
  const own = (running = new AbortController());
  problem("");
  writeAddress(push);
  if (!state.q.trim()) {
    found = null;
    $("outcome").hidden = true;
    welcome();
    facets();
    return;
  }
  $("welcome").hidden = true;
  document.body.classList.add("is-busy");
  announce(t("searching"));
  const names = state.with ? [state.pipeline || settings.pipelines[0].name, state.with] : [state.pipeline];
  try {
    const answers = await Promise.all(names.map((name) => post("page/search", { ...searchBody(name), ...variantBody(name), top_k: topK() }, { signal: own.signal })));
    if (own.signal.aborted) return;
    found = answers;
    grades = new Map();
    show();
    announceResult();
    leaveQuery();
    await painted();
    await Promise.all([sentences(own.signal), facets(own.signal), loadGrades(own.signal)]);
  } catch (error) {
    if (error.name === "AbortError") return;
    $("outcome").hidden = true;
    problem(error.message);
  } finally {
    if (running === own) document.body.classList.remove("is-busy");
  }
}

/** Let the keys for hits work at once, unless somebody is already writing another query. */
function leaveQuery() {
  if (document.activeElement === $("q") && $("q").value.trim() === state.q.trim()) $("results").focus({ preventScroll: true });
}

/** Wait until what was changed can be seen: what is asked of the server next competes with drawing for this machine's cores. */
function painted() {
  return new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, 250); // a hidden page draws no frames
  });
}

function problem(text) {
  fill($("problem"), text && h("p", { class: "notice bad" }, text));
}

function welcome() {
  const box = $("welcome");
  box.hidden = false;
  const isEmpty = settings.documents === 0;
  fill(
    box,
    h("h2", { class: "welcome-title" }, t("welcome_title")),
    h("p", {}, t("welcome_text")),
    h("p", { class: "muted" }, isEmpty ? t("welcome_empty") : t("welcome_documents", { n: settings.documents })),
    settings.upload && h("p", {}, button(t("welcome_add"), () => go("documents"), { class: isEmpty ? "primary" : "quiet" })),
  );
}

function announceResult() {
  const [answer] = found;
  const best = found.at(-1).hits[0];
  announce(best ? `${t("hits_shown", { n: Math.min(topK(), found.at(-1).hits.length) })}. ${best.title}` : t("no_hits"));
  return answer;
}

/** Show what was found. */
function show() {
  lists = makeLists(found);
  $("outcome").hidden = false;
  summary();
  notice();
  results();
  panel();
}

function results() {
  const box = $("results");
  if (!found.some((answer) => answer.hits.length)) {
    fill(box, h("div", { class: "empty" }, h("p", {}, t("no_hits")), h("p", { class: "muted" }, t("no_hits_hint"))));
    return;
  }
  const elements = lists.map((list, side) => listElement(list, side));
  box.className = `results ${lists.length === 2 ? "has-two" : ""}`;
  if (lists.length < 2) {
    fill(box, elements);
    return;
  }
  const switches = lists.map((list, side) =>
    button(list.title, () => {
      box.classList.toggle("shows-first", side === 0);
      switches.forEach((one, index) => one.setAttribute("aria-pressed", String(index === side)));
    }, { "aria-pressed": String(side === (box.classList.contains("shows-first") ? 0 : 1)) }),
  );
  fill(box, h("div", { class: "switch", role: "group" }, switches), elements[0], gutter, elements[1]);
  drawLines();
}

function summary() {
  const k = topK();
  fill(
    $("summary"),
    found.map((answer) => {
      const status = answer.status;
      const counted = answer.hits.filter((hit) => hit.first_stage_rank !== null);
      const isNew = counted.filter((hit) => hit.rank <= k && hit.first_stage_rank > k).length;
      const isSame = counted.every((hit) => hit.rank > k || hit.rank === hit.first_stage_rank);
      const facts = [found.length > 1 && h("strong", {}, answer.pipeline)];
      if (status) {
        facts.push(t("summary_candidates", { n: status.candidates }));
        if (answer.hits.length) facts.push(h("strong", {}, isNew ? t("summary_new", { n: isNew, k }) : t(isSame ? "summary_same" : "summary_none_new", { k })));
        facts.push(h("span", { class: `state ${status.state}` }, t(`state_${status.state}`)), t("scored", { n: status.scored }));
        if (status.cached) facts.push(t("cached", { n: status.cached }));
        if (status.stopped_by) facts.push(t(`stopped_${status.stopped_by}`));
        if (status.backend) facts.push(h("code", {}, status.backend));
      } else facts.push(t("hits_shown", { n: answer.hits.length }));
      if (answer.collapsed) facts.push(t("folded", { n: answer.collapsed }));
      if (answer.over_limit) facts.push(t("over_limit", { n: answer.over_limit }));
      return h("div", { class: "outcome" }, h("ul", { class: "outcome-facts" }, facts.filter(Boolean).map((fact) => h("li", {}, fact))), timeBar(answer.milliseconds), status?.error && h("p", { class: "bad-text" }, status.error));
    }),
  );
}

function timeBar(milliseconds) {
  const times = Object.entries(milliseconds);
  const total = times.reduce((sum, [, time]) => sum + time, 0);
  const bar = h("div", { class: "time-bar", "aria-hidden": "true" });
  times.forEach(([, time], index) => {
    const part = h("span", { class: `part-${index % 6}` });
    part.style.flexGrow = String(Math.max(time, total / 200));
    bar.append(part);
  });
  const legend = h("ul", { class: "time-legend", "aria-label": t("time_by_stage") }, times.map(([name, time], index) => h("li", {}, h("span", { class: `swatch part-${index % 6}`, "aria-hidden": "true" }), `${name} ${t("milliseconds", { n: Math.round(time * 10) / 10 })}`)), h("li", {}, t("in_total", { n: Math.round(total) })));
  return h("div", { class: "times" }, bar, legend);
}

const answering = () => {
  const answer = found.at(-1);
  return answer.hits.filter((hit) => hit.rank <= topK() && hit.probability !== null && hit.probability >= threshold());
};

function notice() {
  const answer = found.at(-1);
  const known = answer.hits.filter((hit) => hit.probability !== null);
  const best = Math.max(...known.map((hit) => hit.probability));
  const isNothing = known.length > 0 && best < threshold();
  fill($("notice"), isNothing && h("div", { class: "notice nothing" }, h("h2", {}, t("nothing_title")), h("p", {}, t("nothing_text", { p: probabilityText(best), t: decimal(threshold()) }))));
}

async function sentences(signal) {
  await Promise.all(
    found.map(async (answer) => {
      const k = topK();
      const wanted = answer.hits.filter((hit) => hit.rank <= k || (hit.first_stage_rank !== null && hit.first_stage_rank <= k)).slice(0, 50);
      if (!answer.has_second_stage || !wanted.length) return;
      const { sentences: spans } = await post("page/sentences", { query: answer.query, ids: wanted.map((hit) => hit.id), ...variantBody(answer.pipeline) }, { signal });
      for (const hit of wanted) hit.sentence = spans[hit.id];
    }),
  );
  if (signal.aborted) return;
  for (const element of document.querySelectorAll("#results .hit")) {
    const hit = found.flatMap((answer) => answer.hits).find((one) => one.id === element.dataset.id && one.sentence);
    if (hit) element.querySelector(".snippet").replaceWith(snippet(hit));
  }
  drawLines();
}

// -------------------------------------------------------------------------------------------- settings and facets

function controls() {
  const configured = settings.pipelines.find((pipeline) => pipeline.name === (state.pipeline || settings.pipelines[0].name)) ?? settings.pipelines[0];
  const set = (name) => (value) => {
    state[name] = value;
    if (name === "pipeline" && value === settings.pipelines[0].name) state.pipeline = "";
    if (name === "pipeline" && value === state.with) state.with = "";
    controls();
    search();
  };
  const number = (name, placeholder, properties = {}) => h("input", { type: "number", min: "1", inputMode: "numeric", value: state[name], placeholder, onchange: (event) => event.target.validity.valid && set(name)(event.target.value), ...properties });
  const names = settings.pipelines.map((pipeline) => [pipeline.name, pipeline.name]);
  const others = names.filter(([name]) => name !== configured.name);
  const ranked = configured.has_ranker;
  fill(
    $("control-grid"),
    field(t("pipeline"), choice(names, configured.name, set("pipeline"))),
    others.length > 0 && field(t("compare"), choice([["", t("compare_none")], ...others], state.with, set("with"))),
    field(t("candidates"), number("n", t("configured"), { max: "10000" }), t("candidates_title")),
    field(t("top_k"), number("k", "10", { max: "100" })),
    ranked && field(t("fusion"), choice([["", t("as_configured", { value: configured.fusion })], ...["none", "rrf", "linear", "log_linear"].map((name) => [name, t(`fusion_${name}`)])], state.fusion, set("fusion")), t("fusion_title")),
    ranked && field(t("precision"), choice([["", t("as_configured", { value: configured.precision })], ...["fp32", "bf16", "int8"].map((name) => [name, name])], state.precision, set("precision"))),
    ranked && field(t("budget"), number("budget", t("configured"), { step: "any" }), t("budget_title")),
    h("div", { class: "checks" }, configured.has_second_stage && check(t("rerank"), state.rerank !== "0", (on) => set("rerank")(on ? "1" : "0")), check(t("fold"), state.fold !== "0", (on) => set("fold")(on ? "" : "0")), check(t("group"), state.group === "1", (on) => { state.group = on ? "1" : ""; writeAddress(); if (found) results(); })),
  );
  const changed = [configured.name, state.with && `↔ ${state.with}`, state.n && `${state.n}`, state.fusion, state.precision, state.budget && t("milliseconds", { n: Number(state.budget) })].filter(Boolean);
  $("controls-state").textContent = changed.join(" · ");
}

const fieldName = (name) => TEXTS[`field_${name}`] ?? name;
const shortValue = (name, value) => (name === "source" ? String(value).split("/").at(-1) : String(value));
let openFacet = null;

async function facets(signal) {
  const chosen = chosenFacets();
  const { fields } = await post("page/facets", {}, { signal });
  const set = (name, value, isOn) => {
    const values = (chosen.get(name) ?? []).filter((one) => one !== value);
    if (isOn) values.push(value);
    if (values.length) chosen.set(name, values);
    else chosen.delete(name);
    state.f = chosen.size ? JSON.stringify(Object.fromEntries(chosen)) : "";
    search();
  };
  fill(
    $("facets"),
    fields.map(({ field: name, values, more }) => {
      const mine = chosen.get(name) ?? [];
      const details = h("details", { class: `facet ${mine.length ? "is-set" : ""}`, open: openFacet === name, ontoggle: () => { if (details.open) openFacet = name; else if (openFacet === name) openFacet = null; } });
      details.append(
        h("summary", { dir: "auto" }, fieldName(name), mine.length > 0 && h("span", { class: "muted" }, ` ${mine.map((value) => shortValue(name, value)).join(", ")}`)),
        h("div", { class: "facet-values" }, values.map(({ value, count }) => h("label", { class: "check", title: String(value) }, h("input", { type: "checkbox", checked: mine.includes(value), onchange: (event) => set(name, value, event.target.checked) }), h("span", { dir: "auto" }, shortValue(name, value)), h("span", { class: "count muted" }, numbers.format(count)))), more > 0 && h("p", { class: "muted" }, t("more_values", { n: more }))),
      );
      return details;
    }),
    chosen.size > 0 && button(t("clear_filters"), () => { state.f = ""; search(); }, { class: "link" }),
  );
}

// --------------------------------------------------------------------------------------------------------- panel

const TOOLS = { prompt: promptTool, depth: depthTool, why: whyTool, copy: copyTool, answer: answerTool };

function panel() {
  const names = Object.keys(TOOLS).filter((name) => name !== "answer" || settings.chat);
  if (!names.includes(state.tool)) state.tool = "prompt";
  const body = h("div", { class: "tool", role: "tabpanel", id: "tool", "aria-labelledby": `tool-${state.tool}`, tabIndex: 0 });
  const tabs = names.map((name) => button(t(`panel_${name}`), () => choose(name), { role: "tab", id: `tool-${name}`, "aria-selected": String(name === state.tool), "aria-controls": "tool", tabIndex: name === state.tool ? 0 : -1 }));
  const choose = (name) => {
    state.tool = name;
    writeAddress();
    panel();
    $(`tool-${name}`).focus();
  };
  const onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(names[(names.indexOf(state.tool) + step + names.length) % names.length]);
  };
  fill($("panel"), h("div", { class: "tabs", role: "tablist", "aria-label": t("tools"), onkeydown }, tabs), body);
  fill(body, TOOLS[state.tool](body));
}

function thresholdSlider(onchange) {
  const output = h("output", {}, decimal(threshold()));
  const input = h("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(threshold()), oninput: () => { state.t = input.value; output.textContent = decimal(threshold()); writeAddress(); notice(); onchange(); } });
  const line = field(t("threshold"), input);
  line.classList.add("slider");
  line.append(output);
  return line;
}

function promptText(hits) {
  const passages = hits.map((hit, index) => `[${index + 1}] ${hit.title}\n${hit.content}`);
  return [...passages, `Question: ${found.at(-1).query}`].join("\n\n");
}

function promptTool() {
  const answer = found.at(-1);
  if (!answer.hits.some((hit) => hit.probability !== null)) return h("p", { class: "muted" }, t("prompt_needs_second"));
  const box = h("div", {});
  const render = () => {
    const hits = answering();
    const text = promptText(hits);
    fill(box, h("p", { class: hits.length ? "muted" : "bad-text" }, hits.length ? t("prompt_count", { n: hits.length, characters: text.length }) : t("prompt_none")), hits.length > 0 && [h("pre", { class: "prompt", tabIndex: 0, dir: "auto", "aria-label": t("panel_prompt") }, text), copyButton(() => text)]);
  };
  render();
  return [h("p", {}, t("prompt_intro")), thresholdSlider(render), box];
}

function depthTool() {
  const answer = found.at(-1);
  const ranks = answer.hits.filter((hit) => hit.rank <= topK() && hit.first_stage_rank !== null).map((hit) => hit.first_stage_rank).sort((a, b) => a - b);
  if (!ranks.length) return h("p", { class: "muted" }, t("prompt_needs_second"));
  const [k, total] = [ranks.length, answer.status?.candidates ?? answer.hits.length];
  const deepest = ranks.at(-1);
  const [width, height, edge] = [300, 140, 26];
  const x = (depth) => edge + ((width - edge - 6) * depth) / total;
  const y = (count) => height - 20 - ((height - 32) * count) / k;
  const at = (depth) => ranks.filter((rank) => rank <= depth).length;
  const path = ranks.map((rank, index) => `H${x(rank)}V${y(index + 1)}`).join("");
  const depths = [...new Set([10, 20, 50, 100, 200, 500, total].filter((depth) => depth <= total))];
  const label = (text, left, top, anchor) => h("svg:text", { x: left, y: top, "text-anchor": anchor }, text);
  const chart = h(
    "svg:svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("depth_chart", { k }) },
    h("svg:path", { class: "axis", d: `M${edge} 8V${y(0)}H${width - 6}` }),
    h("svg:path", { class: "area", d: `M${x(0)} ${y(0)}${path}H${x(total)}V${y(0)}Z` }),
    h("svg:path", { class: "curve", d: `M${x(0)} ${y(0)}${path}H${x(total)}` }),
    label(String(k), edge - 4, y(k) + 4, "end"), label("0", edge - 4, y(0) + 4, "end"), label("1", edge, height - 4, "middle"), label(String(total), width - 6, height - 4, "end"), label(t("depth_candidates"), width / 2, height - 4, "middle"),
  );
  const isAtEnd = deepest > 0.9 * total && total > k;
  return [
    h("p", {}, t("depth_intro", { k })),
    chart,
    h("table", { class: "plain" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("candidates")), h("th", { scope: "col" }, t("depth_found", { k })))), h("tbody", {}, depths.map((depth) => h("tr", {}, h("td", {}, String(depth)), h("td", {}, `${at(depth)}`))))),
    h("p", { class: isAtEnd ? "bad-text" : "muted" }, isAtEnd ? t("depth_at_end", { k, n: deepest, total }) : t("depth_all", { k, n: deepest })),
  ];
}

function whyTool() {
  const input = h("input", { type: "search", maxLength: 2000, dir: "auto" });
  const output = h("div", { class: "why", "aria-live": "polite" });
  const explain = async (document) => {
    const variant = variantBody();
    const filters = filtersOf(chosenFacets());
    const answer = await guarded(output, () => post("page/why-not", { query: found[0].query, document_id: document.id, ...variant, ...(filters && { filters }) }));
    if (answer) fill(output, verdict(answer));
  };
  const find = async (event) => {
    event.preventDefault();
    if (!input.value.trim()) return;
    const answer = await guarded(output, () => post("page/find", { query: input.value.trim(), ...(state.pipeline && { pipeline: state.pipeline }) }));
    if (!answer) return;
    const documents = answer.documents;
    fill(output, documents.length ? [h("p", {}, t("why_choose")), h("ul", { class: "choices" }, documents.map((document) => h("li", {}, button(document.title, () => explain(document), { class: "link", dir: "auto" }), placeOf(document))))] : h("p", {}, t("why_none")));
  };
  return [h("form", { onsubmit: find }, field(t("why_intro"), input), h("button", { type: "submit", class: "quiet" }, t("why_find"))), output];
}

async function guarded(output, work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") fill(output, h("p", { class: "bad-text" }, error.message));
    return null;
  }
}

function verdict(answer) {
  const { document, stages, probability, depth, passes_filters: passes } = answer;
  const [result] = found;
  const hit = result.hits.find((one) => one.id === document.id);
  const total = result.status?.candidates ?? result.hits.length;
  const folded = result.hits.find((one) => one.also_in?.some((place) => place.source === document.source && (place.page ?? null) === document.page && (place.section ?? null) === document.section));
  const last = stages.at(-1);
  const p = probabilityText(probability);
  const would = probability === null ? null : 1 + result.hits.filter((one) => one.probability !== null && one.probability > probability).length;
  const lines = [];
  if (!passes) lines.push(t("why_filtered"));
  else if (hit && hit.rank <= topK()) lines.push(t("why_at_rank", { rank: hit.rank }));
  else if (hit) lines.push(t("why_below", { rank: hit.rank, p }));
  else if (folded) lines.push(t("why_folded", { title: folded.title, rank: folded.rank }));
  else if (last?.rank) {
    lines.push(t("why_too_deep", { rank: last.rank, n: total, p }));
    if (would !== null && would <= topK()) lines.push(t("why_too_deep_wins", { rank: last.rank, would }));
  } else lines.push(t("why_not_found", { depth, p }));
  return [
    h("h3", { dir: "auto" }, document.title),
    placeOf(document),
    lines.map((line) => h("p", { class: "verdict" }, line)),
    h("table", { class: "plain" }, h("thead", {}, h("tr", {}, [t("why_stage"), t("why_rank"), t("score"), t("why_hands_on")].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, stages.map((stage) => h("tr", {}, h("td", {}, h("code", {}, stage.stage)), h("td", {}, stage.rank === null ? t("why_deeper", { depth }) : String(stage.rank)), h("td", {}, scoreText(stage.score)), h("td", {}, stage.passes_on === null ? "–" : String(stage.passes_on)))), probability !== null && h("tr", {}, h("td", {}, t("why_cross_encoder")), h("td", {}, hit ? String(hit.rank) : "–"), h("td", {}, p), h("td", {}, "–")))),
    button(t("open_document"), () => openDocument(document.id), { class: "link" }),
  ];
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function pythonText(body) {
  // JSON is Python but for three words, outside of strings.
  return JSON.stringify(body, null, 4).replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (piece) => ({ true: "True", false: "False", null: "None" })[piece] ?? piece);
}

async function copyText(format) {
  const body = { ...searchBody(), top_k: topK(), highlights: true };
  const url = new URL("search", location.href).href;
  const key = sessionStorage.getItem(KEY) !== null;
  if (format === "yaml") return (await post("page/pipeline", variantBody())).yaml;
  if (format === "curl") return `curl ${shellQuoted(url)} \\\n${key ? `  -H "Authorization: Bearer $KEY" \\\n` : ""}  -H 'Content-Type: application/json' \\\n  -d ${shellQuoted(JSON.stringify(body))}`;
  return `import json\nimport urllib.request\n\nbody = ${pythonText(body)}\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)},\n    data=json.dumps(body).encode(),\n    headers={"Content-Type": "application/json"${key ? ', "Authorization": f"Bearer {KEY}"' : ""}},\n)\nwith urllib.request.urlopen(request) as response:\n    for hit in json.load(response)["hits"]:\n        print(hit["rank"], hit["title"], hit["score"])\n`;
}

let copyFormat = "curl";

function copyTool() {
  const output = h("pre", { class: "code", tabIndex: 0, "aria-label": t("panel_copy") });
  const problemLine = h("div", {});
  const render = async () => {
    const text = await guarded(problemLine, () => copyText(copyFormat));
    if (text !== null) output.textContent = text;
  };
  render();
  return [field(t("copy_format"), choice(["curl", "python", "yaml"].map((name) => [name, t(`copy_${name}`)]), copyFormat, (value) => { copyFormat = value; render(); })), output, problemLine, copyButton(() => output.textContent)];
}

// -------------------------------------------------------------------------------------------------------- answers

function answerTool() {
  const output = h("div", { class: "answer", "aria-live": "polite" });
  const ask = h("div", {});
  let asked = null;
  const render = () => {
    const hits = answering();
    fill(ask, asked ? button(t("answer_stop"), () => asked.abort(), { class: "quiet" }) : hits.length ? button(t("answer_button", { n: hits.length }), () => run(hits), { class: "primary" }) : h("p", { class: "bad-text" }, t("answer_none")));
  };
  const run = async (hits) => {
    asked = new AbortController();
    render();
    try {
      await streamAnswer(hits, output, asked.signal);
    } catch (error) {
      if (error.name !== "AbortError") fill(output, h("p", { class: "bad-text" }, error.message));
    }
    asked = null;
    render();
  };
  render();
  return [h("p", { class: "muted" }, t("answer_intro", { model: settings.chat })), thresholdSlider(render), ask, output];
}

async function streamAnswer(hits, output, signal) {
  const text = h("p", { class: "answer-text", dir: "auto" });
  const outcome = h("div", {});
  const sources = h("ol", { class: "sources" }, hits.map((hit) => h("li", { class: "source", tabIndex: -1 }, h("span", { class: "source-title", dir: "auto" }, hit.title), placeOf(hit), button(t("open_document"), () => openDocument(hit.id), { class: "link" }))));
  fill(output, text, outcome, h("h3", {}, t("answer_sources")), sources);
  const response = await send("page/answer", { method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify({ query: found.at(-1).query, ids: hits.map((hit) => hit.id), ...variantBody(found.at(-1).pipeline) }) });
  let [answer, rest] = ["", ""];
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      const event = JSON.parse(line);
      if (event.text) fill(text, cited((answer += event.text), null, sources));
      if (event.error) fill(outcome, h("p", { class: "bad-text" }, event.error));
      if (event.sentences) fill(text, checkedAnswer(answer, event.sentences, sources, outcome));
    }
  }
}

function cited(text, citations, sources) {
  return text.split(/(\[\d{1,3}(?:\s*[,;]\s*\d{1,3})*\])/).map((piece, index) => (index % 2 ? piece.match(/\d+/g).map((number) => citationButton(Number(number), citations?.find((one) => one.number === Number(number)), sources)) : piece));
}

function citationButton(number, citation, sources) {
  const verdict = citation?.verdict ?? "unchecked";
  const title = citation ? t(`answer_${verdict}_title`, { n: number, p: probabilityText(citation.support) }) : undefined;
  const show = () => {
    const source = sources.children[number - 1];
    if (!source) return;
    for (const other of sources.children) other.classList.toggle("is-linked", other === source);
    source.scrollIntoView({ block: "nearest" });
    source.focus();
  };
  return h("button", { type: "button", class: `citation ${citation ? verdict : ""}`, title, "aria-label": title ?? String(number), onclick: show }, verdict === "unsupported" || verdict === "missing" ? `${number}?` : String(number));
}

function checkedAnswer(answer, sentencesFound, sources, outcome) {
  const text = characters(answer);
  const parts = [];
  let at = 0;
  for (const { start, end, citations } of sentencesFound) {
    parts.push(slice(text, at, start));
    const isBad = citations.some((one) => ["unsupported", "missing"].includes(one.verdict));
    parts.push(h("span", { class: citations.length ? (isBad ? "claim is-unsupported" : "claim") : "claim is-uncited", title: citations.length ? undefined : t("answer_uncited") }, cited(slice(text, start, end), citations, sources)));
    at = end;
  }
  parts.push(slice(text, at, text.length));
  const all = sentencesFound.flatMap((one) => one.citations).filter((one) => one.verdict !== "unchecked");
  const bad = all.filter((one) => one.verdict !== "supported");
  fill(outcome, all.length > 0 && h("p", { class: bad.length ? "bad-text" : "good-text" }, `${t("answer_checked", { n: all.length })}${bad.length ? `: ${t("answer_unsupported", { n: bad.length })}` : ""}.`));
  announce(t("answer_done"));
  return parts;
}

// ------------------------------------------------------------------------------------------------------ documents

async function openDocument(id) {
  const [dialog, body] = [$("dialog-document"), $("document-body")];
  $("document-title").textContent = "";
  fill(body);
  if (!dialog.open) dialog.showModal();
  $("download").onclick = () => download(`page/text?id=${encodeURIComponent(id)}`, "document.txt").catch((error) => fill(body, h("p", { class: "bad-text" }, error.message)));
  const whole = await guarded(body, () => get(`page/document?id=${encodeURIComponent(id)}`));
  if (!whole) return;
  $("document-title").textContent = whole.title;
  const hit = found?.flatMap((answer) => answer.hits).find((one) => one.id === id);
  let section = null;
  fill(
    body,
    whole.source && h("p", { class: "muted source-path", dir: "auto" }, whole.source),
    whole.before > 0 && h("p", { class: "muted" }, `… ${t("documents_passages", { n: whole.before })}`),
    whole.passages.map((passage) => {
      const head = passage.section !== section && passage.section ? h("h3", { dir: "auto" }, passage.section) : null;
      section = passage.section;
      const isHit = passage.id === id;
      return [head, passage.page !== null && h("p", { class: "muted page-number" }, t("page_number", { n: passage.page })), h("div", { class: `passage ${isHit ? "is-hit" : ""}`, dir: "auto" }, isHit && hit ? marked(hit) : passage.content), passage.characters > characters(passage.content).length && h("p", { class: "muted" }, t("cut_text", { n: characters(passage.content).length, total: passage.characters }))];
    }),
    whole.after > 0 && h("p", { class: "muted" }, `… ${t("documents_passages", { n: whole.after })}`),
  );
  body.querySelector(".is-hit")?.scrollIntoView({ block: "center" });
  if (canJudge && localStorage.getItem("rerank-weak") === "1" && hit) judge(hit, 1, { weak: true });
}

const size = (bytes) => (bytes === null ? "–" : bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${decimal(bytes / 1e3, 0)} kB` : `${decimal(bytes / 1e6, 1)} MB`);
const documentsState = { find: "", offset: 0 };

function documentsView() {
  const { max_bytes: most, suffixes } = settings.upload;
  const jobs = h("ul", { class: "jobs", "aria-live": "polite" });
  const table = h("div", {});
  const input = h("input", { type: "file", multiple: true, id: "files", accept: suffixes.join(","), onchange: () => { upload([...input.files], jobs, table); input.value = ""; } });
  const drop = h("div", { class: "drop", ondragover: (event) => { event.preventDefault(); drop.classList.add("is-over"); }, ondragleave: () => drop.classList.remove("is-over"), ondrop: (event) => { event.preventDefault(); drop.classList.remove("is-over"); upload([...event.dataTransfer.files], jobs, table); } }, h("p", {}, `${t("documents_drop")} `, h("label", { htmlFor: "files", class: "file-label" }, t("documents_choose")), input), h("p", { class: "muted" }, t("documents_limits", { size: size(most), types: suffixes.join(" ") })));
  const find = h("input", { type: "search", value: documentsState.find, oninput: () => { documentsState.find = find.value; documentsState.offset = 0; listFiles(table, jobs); } });
  fill($("view-documents"), h("h1", {}, t("view_documents")), h("p", { class: "muted" }, t("documents_intro")), drop, jobs, field(t("documents_find"), find), table);
  listFiles(table, jobs);
}

async function listFiles(table, jobs) {
  const { find, offset } = documentsState;
  const answer = await guarded(table, () => get(`page/files?find=${encodeURIComponent(find)}&offset=${offset}`));
  if (!answer || find !== documentsState.find) return;
  settings.documents = answer.documents;
  const move = (step) => { documentsState.offset += step; listFiles(table, jobs); };
  const health = h("p", { role: "status" });
  const verify = async () => {
    health.textContent = t("documents_verifying");
    const result = await guarded(health, () => get("page/health"));
    if (result) fill(health, h("span", { class: result.is_sound ? "good-text" : "bad-text" }, result.is_sound ? t("documents_sound") : result.error));
  };
  fill(
    table,
    h("p", { class: "muted" }, t("documents_files", { n: answer.found })),
    answer.files.length > 0 && h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": t("view_documents") }, h("table", { class: "files" }, h("thead", {}, h("tr", {}, [t("documents_name"), t("documents_count"), t("documents_size"), t("documents_state")].map((name) => h("th", { scope: "col" }, name)), h("th", { scope: "col" }, h("span", { class: "sr" }, t("documents_remove"))))), h("tbody", {}, answer.files.map((file) => h("tr", {}, h("td", { dir: "auto", title: file.source }, file.name), h("td", { class: "number" }, numbers.format(file.passages)), h("td", { class: "number" }, size(file.bytes)), h("td", {}, file.is_complete ? t("documents_complete") : h("span", { class: "bad-text" }, t("documents_incomplete"))), h("td", {}, button(t("documents_remove"), () => remove(file, jobs, table), { class: "link", "aria-label": t("documents_remove_of", { name: file.name }) }))))))),
    h("p", { class: "row" }, offset > 0 && button(t("documents_previous"), () => move(-50), { class: "quiet" }), offset + answer.files.length < answer.found && button(t("documents_next"), () => move(50), { class: "quiet" })),
    h("h2", {}, t("documents_health")),
    h("dl", { class: "meta wide-meta" }, [[t("documents_count"), numbers.format(answer.documents)], [t("documents_embeddings"), numbers.format(answer.embeddings)], [t("documents_without_file"), numbers.format(answer.without_file)], [t("documents_settings"), Object.entries(answer.settings).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ")]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    button(t("documents_verify"), verify, { class: "quiet" }),
    health,
  );
}

function jobElement(name, jobs) {
  const status = h("span", { class: "job-state" });
  const element = h("li", { class: "job" }, h("span", { class: "job-name", dir: "auto" }, name), status);
  jobs.prepend(element);
  return { element, status };
}

async function upload(files, jobs, table) {
  for (const file of files) {
    const { element, status } = jobElement(file.name, jobs);
    if (file.size > settings.upload.max_bytes) {
      element.classList.add("is-failed");
      status.textContent = t("documents_limits", { size: size(settings.upload.max_bytes), types: "" });
      continue;
    }
    status.textContent = t("job_sending");
    try {
      const job = await post(`page/upload?name=${encodeURIComponent(file.name)}`, null, { body: file, headers: { "content-type": "application/octet-stream" } });
      await follow(job, element, status);
      if (element.classList.contains("is-done")) element.append(button(t("documents_undo"), async (event) => { event.target.remove(); if (await guarded(status, () => post("page/remove", { source: job.source }))) status.textContent = t("job_undone"); listFiles(table, jobs); }, { class: "link" }));
    } catch (error) {
      element.classList.add("is-failed");
      status.textContent = error.message;
    }
    listFiles(table, jobs);
  }
}

async function follow(job, element, status) {
  while (job.state === "waiting" || job.state === "running") {
    status.textContent = job.state === "waiting" ? t("job_waiting") : job.parts ? t(job.total ? "job_parts_of" : "job_parts", { done: job.done, total: job.total, parts: job.parts }) : t("job_running");
    await new Promise((resolve) => setTimeout(resolve, 250));
    job = await get(`page/jobs/${job.id}`);
  }
  element.classList.add(job.state === "done" ? "is-done" : "is-failed");
  status.textContent = job.state === "done" ? t("job_done", { n: job.passages }) : job.error;
}

async function remove(file, jobs, table) {
  const { element, status } = jobElement(file.name, jobs);
  const removed = await guarded(status, () => post("page/remove", { source: file.source }));
  if (!removed) return element.classList.add("is-failed");
  status.textContent = t("documents_removed", { name: file.name });
  element.append(button(t("documents_undo"), async (event) => {
    event.target.remove();
    const job = await guarded(status, () => post("page/undo", { undo: removed.undo }));
    if (job) await follow(job, element, status);
    listFiles(table, jobs);
  }, { class: "link" }));
  listFiles(table, jobs);
}

// ----------------------------------------------------------------------------------------------------- judgements

const judgeName = () => localStorage.getItem("rerank-judge") || "page";

function gradeElement(hit, query = found?.at(-1)?.query) {
  const group = h("div", { class: "grades", role: "group", "aria-label": `${t("grade")}: ${hit.title}`, "data-grades": hit.id });
  const render = () => fill(group, [0, 1, 2, 3].map((grade) => button(String(grade), () => judge(hit, grade, { query }), { class: "grade", title: t(`grade_${grade}`), "aria-label": `${grade}: ${t(`grade_${grade}`)}`, "aria-pressed": String(grades.get(hit.id) === grade) })));
  group.render = render;
  render();
  return group;
}

const renderGrades = () => document.querySelectorAll("[data-grades]").forEach((group) => group.render?.());

async function judge(hit, grade, { weak = false, query = found?.at(-1)?.query } = {}) {
  const isTakenBack = !weak && grades.get(hit.id) === grade;
  const shown = { pipeline: found?.at(-1)?.pipeline ?? null, rank: hit.rank ?? null, first_stage_rank: hit.first_stage_rank ?? null, blind: state.view === "judge" && judging.blind };
  try {
    await post("judgements", { query, document_id: hit.id, grade: isTakenBack ? null : grade, judge: judgeName(), weak, shown });
  } catch (error) {
    problem(error.message);
    announce(error.message);
    return;
  }
  if (weak) return;
  if (isTakenBack) grades.delete(hit.id);
  else grades.set(hit.id, grade);
  renderGrades();
  announce(isTakenBack ? t("grade_removed", { title: hit.title }) : t("graded", { title: hit.title, grade: `${grade}, ${t(`grade_${grade}`)}` }));
  if (state.view === "judge") judgeProgress().then(judgeQueries);
}

async function undoGrade() {
  try {
    await post("judgements/undo", { judge: judgeName() });
  } catch {
    announce(t("nothing_to_undo"));
    return;
  }
  announce(t("undone"));
  if (state.view === "judge") {
    if (judging.query) await loadPool(judging.query);
    await judgeProgress();
  } else await loadGrades();
}

async function loadGrades(signal) {
  if (!canJudge || !found) return;
  const { judgements } = await get(`judgements?query=${encodeURIComponent(found.at(-1).query)}`, { signal });
  grades = new Map(judgements.filter((one) => !one.weak && !one.stale).map((one) => [one.document_id, one.grade]));
  renderGrades();
}

const judging = { set: "default", sets: [], query: null, queries: [], blind: true, depth: 10, pipelines: null };

async function judgeView() {
  const view = $("view-judge");
  judging.pipelines ??= settings.pipelines.map((pipeline) => pipeline.name);
  const texts = h("textarea", { rows: 3, dir: "auto" });
  const add = async (event) => {
    event.preventDefault();
    const lines = texts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!lines.length || !(await guarded($("judge-problem"), () => post("judgements/queries", { texts: lines, set: judging.set })))) return;
    texts.value = "";
    await judgeProgress();
    await judgeQueries();
  };
  const name = h("input", { type: "text", value: localStorage.getItem("rerank-judge") ?? "", placeholder: "page", maxLength: 80, onchange: () => localStorage.setItem("rerank-judge", name.value.trim()) });
  fill(
    view,
    h("h1", {}, t("view_judge")),
    h("p", { class: "muted" }, t("judge_intro")),
    h("div", { id: "judge-progress", class: "judge-progress" }),
    h("div", { id: "judge-problem", role: "alert" }),
    h(
      "div",
      { class: "judge-layout" },
      h("aside", { class: "panel judge-side", "aria-label": t("judge_queries") }, field(t("judge_name"), name), h("div", { id: "judge-sets" }), h("h2", {}, t("judge_queries")), h("ul", { id: "judge-queries", class: "choices" }), h("form", { onsubmit: add }, field(t("judge_add"), texts), h("button", { type: "submit", class: "quiet" }, t("judge_add_button"))), h("fieldset", {}, h("legend", {}, t("judge_pipelines")), settings.pipelines.map((pipeline) => check(pipeline.name, judging.pipelines.includes(pipeline.name), (on) => { judging.pipelines = settings.pipelines.map((one) => one.name).filter((one) => (one === pipeline.name ? on : judging.pipelines.includes(one))); }))), field(t("judge_depth"), h("input", { type: "number", min: 1, max: 100, value: judging.depth, onchange: (event) => { judging.depth = Number(event.target.value) || 10; } })), check(t("judge_blind"), judging.blind, (on) => { judging.blind = on; if (judging.query) loadPool(judging.query); }), check(t("judge_weak"), localStorage.getItem("rerank-weak") === "1", (on) => localStorage.setItem("rerank-weak", on ? "1" : "0")), h("p", { class: "row" }, button(t("judge_export"), () => download("judgements/export", "judgements.zip").catch((error) => fill($("judge-problem"), h("p", { class: "notice bad" }, error.message))), { class: "quiet" }))),
      h("div", { class: "judge-main" }, h("div", { id: "judge-pool" }, h("p", { class: "muted" }, t("judge_choose"))), h("section", { id: "judge-evaluation" })),
    ),
  );
  evaluationSection();
  await judgeProgress();
  await judgeQueries();
}

async function judgeProgress() {
  const box = $("judge-progress");
  const progress = await guarded(box, () => get("judgements/progress"));
  if (!progress) return;
  const meter = h("progress", { max: Math.max(progress.queries, 1), value: progress.judged_queries, "aria-label": t("view_judge") });
  fill(box, meter, h("span", {}, t("judge_progress", { judged: progress.judged_queries, queries: progress.queries, judgements: progress.judgements })), button(t("judge_undo"), undoGrade, { class: "link" }));
  judging.sets = progress.sets.map((one) => one.name);
  if (judging.sets.length && !judging.sets.includes(judging.set)) judging.set = judging.sets[0];
  const names = progress.sets.map((one) => [one.name, `${one.name} (${one.judged}/${one.queries})`]);
  fill($("judge-sets"), names.length > 1 && field(t("judge_set"), choice(names, judging.set, (value) => { judging.set = value; judgeQueries(); })));
}

async function judgeQueries() {
  const list = $("judge-queries");
  const answer = judging.sets.length ? await guarded(list, () => get(`judgements/queries?set=${encodeURIComponent(judging.set)}`)) : { queries: [] };
  if (!answer) return;
  judging.queries = answer.queries;
  fill(list, answer.queries.length ? answer.queries.map((query) => h("li", {}, button(query.text, () => loadPool(query.text), { class: "link", dir: "auto", "aria-current": query.text === judging.query ? "true" : undefined }), " ", h("span", { class: "muted" }, t("judge_grades_of_query", { n: query.judged })))) : h("li", { class: "muted" }, t("judge_none")));
}

async function loadPool(query) {
  judging.query = query;
  const box = $("judge-pool");
  const answer = await guarded(box, () => post("judgements/pool", { query, pipelines: judging.pipelines, depth: judging.depth, blind: judging.blind }));
  if (!answer) return;
  grades = new Map(answer.hits.filter((hit) => hit.grade !== null).map((hit) => [hit.id, hit.grade]));
  const next = async () => {
    await judgeQueries();
    const at = judging.queries.findIndex((one) => one.text === query);
    const following = [...judging.queries.slice(at + 1), ...judging.queries.slice(0, at + 1)].find((one) => !one.judged && one.text !== query);
    if (following) loadPool(following.text);
  };
  const cards = answer.hits.map((hit) => {
    const shown = { ...hit, title: String(hit.meta?.title ?? hit.meta?.source ?? hit.id), file: hit.meta?.source ? String(hit.meta.source).split("/").at(-1) : null, page: hit.meta?.page ?? null, section: hit.meta?.section ?? null, source: hit.meta?.source ?? null, characters: characters(hit.content ?? "").length, content: hit.content ?? "" };
    const stages = Object.entries(hit.stages ?? {}).map(([name, place]) => `${name}: ${[place.first_stage_rank, place.rank].filter((rank) => rank !== null && rank !== undefined).join(" → ")}`);
    return h("li", { class: "hit judge-hit", "data-id": hit.id, "data-judge": "1" }, h("div", { class: "body" }, h("h3", {}, button(shown.title, () => openDocument(hit.id), { class: "title", dir: "auto" })), placeOf(shown), h("div", { class: "passage", dir: "auto" }, shown.content), stages.length > 0 && h("p", { class: "muted" }, stages.join(" · ")), h("div", { class: "actions" }, gradeElement(shown, query))));
  });
  fill(box, h("div", { class: "list-head" }, h("h2", { dir: "auto" }, t("judge_pool", { query })), button(t("judge_next"), next, { class: "quiet" })), h("ol", { class: "hits" }, cards));
  box.querySelector(".title")?.focus({ preventScroll: true });
  judgeQueries();
}

function evaluationSection() {
  const output = h("div", { "aria-live": "polite" });
  const evaluate = async () => {
    const answer = await guarded(output, () => post("judgements/evaluate", { pipelines: judging.pipelines, split: "all" }));
    if (!answer) return;
    const calibrate = (name) => async (event) => {
      event.target.disabled = true;
      event.target.textContent = t("judge_calibrating");
      const done = await guarded(output, () => post("judgements/calibrate", { pipeline: name }));
      if (done) event.target.textContent = done.words ?? t("judge_calibrated");
    };
    fill(
      output,
      h("p", {}, t("judge_evaluation", { n: answer.queries })),
      h("table", { class: "plain" }, h("thead", {}, h("tr", {}, [t("pipeline"), "nDCG@10", t("judge_interval"), ""].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, answer.pipelines.map((one) => h("tr", {}, h("td", {}, one.name), h("td", { class: "number" }, decimal(one["ndcg@10"], 3)), h("td", { class: "number" }, one.interval ? `${decimal(one.interval[0], 3)} – ${decimal(one.interval[1], 3)}` : "–"), h("td", {}, settings.pipelines.find((known) => known.name === one.name)?.has_ranker && button(t("judge_calibrate", { pipeline: one.name }), calibrate(one.name), { class: "link" })))))),
      h("ul", { class: "facts" }, answer.differences.map((one) => h("li", {}, t("judge_difference", { a: one.a, b: one.b, difference: decimal(one.difference, 3) }), one.interval ? ` (${decimal(one.interval[0], 3)} – ${decimal(one.interval[1], 3)}): ` : ": ", one.needs ? t("judge_needs", { n: one.needs }) : t("judge_decided")))),
      answer.words && h("p", {}, answer.words),
    );
  };
  fill($("judge-evaluation"), h("h2", {}, t("judge_evaluate")), button(t("judge_evaluate"), evaluate, { class: "quiet" }), output);
}

// ---------------------------------------------------------------------------------------------------------- paste

function pasteView() {
  const view = $("view-paste");
  const query = h("input", { type: "search", dir: "auto", maxLength: 4000 });
  const texts = h("textarea", { rows: 12, dir: "auto" });
  const count = h("span", { class: "muted" });
  const output = h("div", {});
  const model = choice(settings.models.map((name) => [name, name]), settings.models[0], () => {});
  const split = () => texts.value.split(/\n\s*\n/).map((text) => text.trim()).filter(Boolean);
  const recount = () => { count.textContent = t("paste_count", { n: split().length }); };
  texts.oninput = recount;
  const example = () => {
    query.value = t("paste_example_query");
    texts.value = t("paste_example_texts");
    recount();
  };
  const rank = async (event) => {
    event.preventDefault();
    const documents = split();
    if (!query.value.trim() || !documents.length) return;
    if (documents.length > settings.max_documents) {
      fill(output, h("p", { class: "bad-text" }, t("paste_too_many", { n: settings.max_documents })));
      return;
    }
    const body = { model: model.value, query: query.value.trim(), documents, relevant_spans: { mode: "enabled", threshold: 0, max_spans: 1 } };
    const answer = await guarded(output, () => post("v2/rerank", body));
    if (!answer) return;
    found = null;
    const hits = answer.results.map((result, position) => {
      const content = documents[result.index];
      const span = result.relevant_spans?.[0];
      return { id: String(result.index), title: [...content].slice(0, 70).join(""), content, characters: characters(content).length, rank: position + 1, first_stage_rank: result.index + 1, first_stage_score: null, score: result.relevance_score, probability: result.relevance_score, is_scored: true, sentence: span ? [span.start, span.end] : null };
    });
    fill(output, h("div", { class: "list-head" }, h("h2", {}, t("paste_ranked", { model: answer.model ?? model.value }))), h("ol", { class: "hits pasted" }, hits.map((hit) => pastedElement(hit))));
    announce(t("hits_shown", { n: hits.length }));
  };
  fill(view, h("h1", {}, t("view_paste")), h("p", { class: "muted" }, t("paste_intro")), h("form", { class: "paste-form", onsubmit: rank }, field(t("paste_query"), query), field(t("paste_texts"), texts), settings.models.length > 1 && field(t("paste_model"), model), h("p", { class: "row" }, h("button", { type: "submit", class: "primary" }, t("paste_rank")), button(t("paste_example"), example, { class: "quiet" }), count)), output);
  recount();
}

function pastedElement(hit) {
  const moved = hit.first_stage_rank - hit.rank;
  const kind = moved > 0 ? "up" : moved < 0 ? "down" : "same";
  const words = { from: hit.first_stage_rank, to: hit.rank, n: Math.abs(moved) };
  const text = kind === "same" ? t("stayed", words) : t(kind === "up" ? "moved_up" : "moved_down", words);
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span", {}));
  meter.firstChild.style.width = `${Math.round(100 * hit.probability)}%`;
  return h("li", { class: `hit is-${kind}` }, h("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)), h("div", { class: "body" }, h("div", { class: "headline" }, h("p", { class: "passage", dir: "auto" }, h("span", { class: "sr" }, `${hit.rank}. `), marked(hit)), h("span", { class: `chip ${kind}`, title: text }, h("span", { "aria-hidden": "true" }, kind === "same" ? "=" : `${kind === "up" ? "▲" : "▼"} ${Math.abs(moved)}`), h("span", { class: "sr" }, text)), h("span", { class: "score" }, h("span", { class: "sr" }, `${t("probability")} `), probabilityText(hit.probability), meter))));
}

// ----------------------------------------------------------------------------------------------------------- views

function viewsOffered() {
  const offered = [];
  if (settings.index) offered.push("search");
  offered.push("paste");
  if (settings.upload) offered.push("documents");
  if (canJudge) offered.push("judge");
  return offered;
}

function go(view, push = true) {
  const offered = viewsOffered();
  const chosen = offered.includes(view) ? view : offered[0];
  state.view = chosen === offered[0] ? "" : chosen;
  writeAddress(push);
  for (const name of ["search", "paste", "documents", "judge"]) $(`view-${name}`).hidden = name !== chosen;
  fill($("views"), offered.map((name) => button(t(`view_${name}`), () => go(name), { class: "view-button", "aria-current": name === chosen ? "page" : undefined })));
  if (chosen === "documents") documentsView();
  if (chosen === "judge") judgeView();
  if (chosen === "search") {
    if (found) drawLines();
    $("q").focus({ preventScroll: true });
  }
}

const THEMES = ["auto", "light", "dark"];
const THEME_SIGNS = { auto: "◐", light: "☀", dark: "☾" };

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const element = $("theme");
  element.textContent = THEME_SIGNS[name];
  element.title = t(`theme_${name}`);
  element.setAttribute("aria-label", t(`theme_${name}`));
  element.onclick = () => {
    const next = THEMES[(THEMES.indexOf(name) + 1) % THEMES.length];
    localStorage.setItem("rerank-theme", next);
    theme(next);
  };
}

// ------------------------------------------------------------------------------------------------------------ keys

function moveFocus(step) {
  const titles = [...document.querySelectorAll(state.view === "judge" ? "#judge-pool .title" : "#results .is-second .title")];
  if (!titles.length) return;
  const own = document.activeElement.closest?.(".hit")?.querySelector(".title");
  const at = titles.indexOf(own);
  titles[Math.min(Math.max(at + step, 0), titles.length - 1)].focus();
}

function onKey(event) {
  if (event.target.id === "q" && event.key === "ArrowDown") {
    event.preventDefault();
    moveFocus(1);
    return;
  }
  const isTyping = event.target.matches("input, textarea, select") && event.target.type !== "checkbox";
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || document.querySelector("dialog[open]")) return;
  const element = event.target.closest?.(".hit");
  const all = found?.flatMap((answer) => answer.hits) ?? [];
  const hit = element && (all.find((one) => one.id === element.dataset.id) ?? { id: element.dataset.id, title: element.querySelector(".title")?.textContent ?? "" });
  const actions = {
    "/": () => (go("search", false), $("q").select()),
    "?": () => $("dialog-keys").showModal(),
    j: () => moveFocus(1),
    k: () => moveFocus(-1),
    ArrowDown: element && (() => moveFocus(1)),
    ArrowUp: element && (() => moveFocus(-1)),
    o: hit && (() => openDocument(hit.id)),
    u: element && canJudge && undoGrade,
  };
  for (const grade of [0, 1, 2, 3]) actions[grade] = hit && canJudge && (() => judge(hit, grade, { query: state.view === "judge" ? judging.query : undefined }));
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// ----------------------------------------------------------------------------------------------------------- start

async function start() {
  theme(localStorage.getItem("rerank-theme") ?? "auto");
  readAddress();
  $("show-keys").onclick = () => $("dialog-keys").showModal();
  for (const close of document.querySelectorAll("[data-close]")) close.onclick = () => close.closest("dialog").close();
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", (event) => event.target === dialog && dialog.id !== "dialog-login" && dialog.close());
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", (event) => {
    for (const facet of document.querySelectorAll(".facet[open]")) if (!facet.contains(event.target)) facet.open = false;
  });
  new ResizeObserver(drawLines).observe($("results"));
  $("search-form").onsubmit = (event) => {
    event.preventDefault();
    state.q = $("q").value;
    search();
  };
  window.onpopstate = () => {
    readAddress();
    $("q").value = state.q;
    go(state.view, false);
    if (settings.index) (controls(), search(false));
  };
  try {
    if (document.documentElement.dataset.needsKey !== undefined && !sessionStorage.getItem(KEY)) await logIn(false);
    settings = await get("page/settings");
    canJudge = settings.judging;
  } catch (error) {
    $("view-search").hidden = false;
    problem(error.message);
    return;
  }
  $("index-name").textContent = settings.index ?? "";
  $("models").textContent = settings.models.join(", ");
  $("q").value = state.q;
  pasteView();
  go(state.view, false);
  if (settings.index) {
    controls();
    await search(false);
  }
}

await start();
