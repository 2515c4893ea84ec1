
"use strict";
const ask = $("ask"), answers = $("answers"), asked = $("asked"), told = $("told");
const place = location.origin + ask.dataset.path, BARS = 10, ROWS = 20;
const PLAIN = /^(-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?|true|false)$/;
let picture = null;

function add(parent, tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  parent.append(element);
  return element;
}

function spell(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : typeof value === "string" ? value : JSON.stringify(value);
}

function listBars(value) {
  const pairs = Array.isArray(value) ? value.map((item) => [item?.label ?? item?.index, item?.value]) : Object.entries(value ?? {});
  return pairs.length && pairs.every(([, size]) => typeof size === "number") ? pairs.sort((a, b) => b[1] - a[1]) : [];
}

function showBars(parent, pairs) {
  const most = Math.max(1, ...pairs.map(([, size]) => Math.abs(size)));
  const list = add(parent, "ul", undefined, "bars");
  for (const [word, size] of pairs.slice(0, BARS)) {
    const item = add(list, "li");
    add(item, "span", word);
    add(item, "span", spell(size), "soft");
    // The policy allows no style in the text of the page, but a script may set it.
    add(item, "i").style.width = `${100 * Math.max(0, size) / most}%`;
  }
  if (pairs.length > BARS) add(list, "li", `… and ${pairs.length - BARS} more`, "soft");
}

function showAnswer(row) {
  const list = add(answers, "dl");
  for (const [name, value] of Object.entries(row)) {
    add(list, "dt", name);
    const pairs = typeof value === "object" ? listBars(value) : [], detail = add(list, "dd");
    if (pairs.length) showBars(detail, pairs);
    else detail.textContent = spell(value).slice(0, 300);
  }
}

function showAnswers(text, ok) {
  answers.replaceChildren();
  let found = {error: text.slice(0, 300)};
  try {
    found = JSON.parse(text);
  } catch { /* a proxy's page, maybe */ }
  if (!ok) {
    add(answers, "p", found.error, "bad");
    return;
  }
  const rows = [found].flat();
  rows.slice(0, ROWS).forEach(showAnswer);
  if (rows.length > ROWS) add(answers, "p", `… and ${rows.length - ROWS} more`, "soft");
}

// What is asked: a body, its type, and the command that sends the same.

function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function readField(field) {
  if (field.dataset.kind === "file") return JSON.stringify(field.files[0] ? await readFile(field.files[0]) : null);
  if (!field.value && field.dataset.kind !== "text") return "null";
  const plain = ["number", "integer", "truth"].includes(field.dataset.kind) && PLAIN.test(field.value);
  return plain ? field.value : JSON.stringify(field.value); // a number keeps its digits
}

async function makeBody() {
  if (ask.dataset.kind === "picture") {
    return {body: picture, type: picture?.type || "application/octet-stream", flag: "--data-binary",
      data: `@${picture ? picture.name : "picture.png"}`};
  }
  const rows = $("rows")?.value.trim();
  if (rows) {
    const json = /^[[{"]/.test(rows);
    return {body: rows, type: json ? "application/json" : "text/csv", flag: "--data-raw", data: json ? shorten(rows) : rows};
  }
  if (ask.dataset.kind === "text") {
    const text = $("text").value;
    return {body: text, type: "text/plain", flag: "--data-raw", data: text};
  }
  const members = [];
  for (const field of ask.querySelectorAll("[data-kind]")) {
    members.push(`${JSON.stringify(field.name)}: ${await readField(field)}`);
  }
  const body = `{${members.join(", ")}}`;
  return {body, type: "application/json", flag: "--data-raw", data: body};
}

async function tell() {
  const {type, flag, data} = await makeBody();
  const kind = type === "text/plain" || type === "text/csv" ? ` -H ${quote(`Content-Type: ${type}`)}` : "";
  const shown = data.length > MOST ? "@request" : data;
  told.textContent = `curl -sS ${quote(place)}${kind} ${flag} ${quote(shown)}`;
}

async function question() {
  const {body, type} = await makeBody();
  if (!body) throw new Error(ask.dataset.kind === "picture" ? "choose a picture first" : "type something first");
  const began = performance.now();
  const response = await fetch(place, {method: "POST", body, headers: {"Content-Type": type}});
  const text = await response.text(), seconds = performance.now() - began;
  showAnswers(text, response.ok);
  $("exact").textContent = text.length > MOST ? text.slice(0, MOST) : indent(text);
  asked.textContent = `${response.status} ${response.statusText} · ${seconds.toFixed(1)} ms`;
  asked.className = response.ok ? "soft" : "soft bad";
}

ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = ask.querySelector("[type=submit]");
  button.disabled = true;
  try {
    await question();
  } catch (error) {
    answers.replaceChildren();
    asked.textContent = "no answer: " + error.message;
    asked.className = "soft bad";
  }
  button.disabled = false;
});

function take(file) {
  if (!file) return;
  picture = file;
  const preview = $("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = file.name;
  preview.hidden = false;
  tell();
  ask.requestSubmit();
}

if (ask.dataset.kind === "picture") {
  const drop = $("drop");
  $("file").addEventListener("change", () => take($("file").files[0]));
  for (const kind of ["dragover", "drop", "dragleave"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files[0]);
    });
  }
  addEventListener("paste", (event) => take(event.clipboardData.files[0]));
}

ask.addEventListener("input", tell);
ask.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask.requestSubmit();
});
tell();
