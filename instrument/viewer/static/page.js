// What the page does by itself: new runs as they come, runs of a trace without a reload, copying,
// and keys. Without it every link and form works, and a reload shows what is new.
"use strict";

const POLL_MS = 2000; // how long after one look for new runs the next one comes
const POLL_MOST_MS = 15000;
const COST_SHARE = 10; // a look waits so many times as long as the last one took
const TIMEOUT_MS = 10000;
const COPIED_MS = 1500;

const find = (selector, within = document) => within.querySelector(selector);
const main = () => find("main");

// --- a new state of the page in place of the old one: focus, scrolling and what is open stay -----

function morph(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = next.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.hasAttribute("data-keep")) return;
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  }
  morphChildren(old, next);
}

function morphChildren(old, next) {
  const wanted = new Set([...next.children].map((child) => child.id).filter(Boolean));
  const known = new Map();
  for (const child of [...old.children]) {
    if (!child.id) continue;
    if (wanted.has(child.id)) known.set(child.id, child);
    else child.remove();
  }
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const same = child.id ? known.get(child.id) : fits(at, child) ? at : null;
    if (!same) {
      old.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    morph(same, child);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function fits(old, next) {
  return old && !old.id && old.nodeType === next.nodeType && old.nodeName === next.nodeName;
}

async function show(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const rawWasOpen = find("#raw-details")?.open;
  document.title = next.title;
  morph(main(), find("main", next));
  const raw = find("#raw-details");
  if (raw && rawWasOpen) {
    raw.open = true;
    load(raw);
  }
}

// --- live ----------------------------------------------------------------------------------------

let live = true;
let timer = 0;

async function look() {
  const began = performance.now();
  const { watch, after } = main().dataset;
  try {
    const answer = await fetch(`/changes?after=${after}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const news = await answer.json();
    if (String(news.after) !== after) {
      if (watch === "*" || news.ids.includes(watch)) await show(location.href);
      else main().dataset.after = news.after;
    }
    say("Live");
    plan(performance.now() - began);
  } catch {
    say("Offline");
    plan(POLL_MOST_MS / COST_SHARE);
  }
}

function plan(cost) {
  clearTimeout(timer);
  if (!live || document.hidden || !main().dataset.watch) return;
  timer = setTimeout(look, Math.min(POLL_MOST_MS, Math.max(POLL_MS, cost * COST_SHARE)));
}

function say(word) {
  const button = find("#live");
  if (!button) return;
  button.setAttribute("aria-pressed", String(live));
  button.classList.toggle("offline", word === "Offline");
  find(".word", button).textContent = live ? word : "Paused";
}

function toggleLive() {
  live = !live;
  say("Live");
  if (live) look();
  else clearTimeout(timer);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (live && main().dataset.watch) look();
});

// --- clicks --------------------------------------------------------------------------------------

async function swap(link) {
  try {
    await show(link.href);
  } catch {
    location.href = link.href;
    return;
  }
  history.pushState(null, "", link.href);
  const top = find("article.run")?.getBoundingClientRect().top;
  if (top < 0 || top > innerHeight * 0.8) find("article.run").scrollIntoView();
}

async function copy(button) {
  const target = document.getElementById(button.dataset.copy);
  const raw = target.closest("#raw-details");
  if (raw) await load(raw);
  const inside = target.matches(".text") ? [target] : target.querySelectorAll(".text:not(.preview)");
  const text = [...inside].map((each) => each.textContent).join("\n\n");
  const done = await navigator.clipboard.writeText(text).then(() => true, () => false);
  const word = find(".word", button);
  word.textContent = find("#said").textContent = done ? "Copied" : "Not allowed";
  setTimeout(() => (word.textContent = "Copy"), COPIED_MS);
}

async function load(details) {
  const place = find("pre", details);
  const answer = await fetch(details.dataset.load);
  place.textContent = answer.ok ? await answer.text() : `HTTP ${answer.status}`;
}

document.addEventListener("click", (event) => {
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  const link = event.target.closest("a[data-swap]");
  if (link && plain && event.button === 0) {
    event.preventDefault();
    swap(link);
  }
  const button = event.target.closest("button");
  if (button?.dataset.copy) copy(button);
  if (button?.id === "live") toggleLive();
});

document.addEventListener("toggle", (event) => {
  if (event.target.open && event.target.dataset.load) load(event.target);
}, true);

addEventListener("popstate", () => show(location.href).catch(() => location.reload()));

// --- filters: a choice made with a pointer counts at once, and empty ones are not sent -----------

let pointed = null;
document.addEventListener("pointerdown", (event) => (pointed = event.target.closest("select")));
document.addEventListener("keydown", () => (pointed = null), true);
document.addEventListener("change", (event) => {
  if (event.target === pointed && !pointed.closest("details")) pointed.form.requestSubmit();
});
document.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

// --- keys: / to search, arrows or j and k in a list, l for live ----------------------------------

function step(by) {
  const links = [...document.querySelectorAll("[data-rows] .row-link")];
  const here = links.indexOf(document.activeElement);
  const next = links[here < 0 ? 0 : here + by];
  next?.focus();
  return Boolean(next);
}

const KEYS = {
  "/": () => {
    find("#q")?.focus();
    find("#q")?.select();
    return Boolean(find("#q"));
  },
  j: () => step(1),
  k: () => step(-1),
  ArrowDown: () => document.activeElement.matches(".row-link") && step(1),
  ArrowUp: () => document.activeElement.matches(".row-link") && step(-1),
  l: () => {
    if (find("#live")) toggleLive();
  },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (Object.hasOwn(KEYS, event.key) && KEYS[event.key]()) event.preventDefault();
});

document.documentElement.classList.add("js");
plan(0);
