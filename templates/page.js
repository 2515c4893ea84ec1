
"use strict";
const $ = (id) => document.getElementById(id);
const form = $("form"), request = $("request"), answer = $("answer"), status = $("status"), curl = $("curl");
const url = location.origin + form.dataset.path, MOST = 100000;

// Whole tokens are kept as they are: numbers of 64 bits would change if they were parsed.
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

function shorten(text) {
  const short = (text.match(TOKEN) || []).join(""), solid = (text) => text.replace(/\s/g, "");
  return solid(short) === solid(text) ? short : text; // what is no JSON stays as it is
}

function indent(text) {
  let out = "", depth = 0;
  for (const [token] of text.matchAll(TOKEN)) {
    const line = "\n" + "  ".repeat(depth);
    if (token === "{" || token === "[") out += token + (++depth < 4 ? line + "  " : "");
    else if (token === "}" || token === "]") out += (--depth < 3 ? "\n" + "  ".repeat(depth) : "") + token;
    else if (token === ",") out += depth < 4 ? "," + line : ", ";
    else out += token === ":" ? ": " : token;
  }
  return out;
}

function quote(text) {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}

function showCommand() {
  const data = request.value.trim() ? shorten(request.value) : "@request.json";
  const flag = data[0] === "@" ? "--data" : "--data-raw";
  curl.textContent = `curl -sS ${quote(url)} -H 'Content-Type: application/json' ${flag} ${quote(data)}`;
}

async function send() {
  const began = performance.now();
  const response = await fetch(url, {method: "POST", body: request.value,
    headers: {"Content-Type": "application/json"}});
  const bytes = await response.arrayBuffer();
  const seconds = performance.now() - began;
  const length = Number(response.headers.get("Inference-Header-Content-Length") ?? bytes.byteLength);
  const text = new TextDecoder().decode(bytes.slice(0, Math.min(length, MOST)));
  const more = bytes.byteLength - Math.min(length, MOST);
  answer.textContent = (length > MOST ? text : indent(text)) + (more ? `\n… and ${more} more bytes` : "");
  status.textContent = `${response.status} ${response.statusText} · ${seconds.toFixed(1)} ms`;
  status.className = response.ok ? "soft" : "soft bad";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await send();
  } catch (error) {
    answer.textContent = "";
    status.textContent = "no answer: " + error.message;
    status.className = "soft bad";
  }
  button.disabled = false;
});

request.addEventListener("input", showCommand);
request.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

// The clipboard is for pages over https and on this machine only; elsewhere the old way still works.
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(curl.textContent);
  } catch {
    getSelection().selectAllChildren(curl);
    document.execCommand("copy");
  }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
});

for (const host of document.querySelectorAll(".host")) host.textContent = location.host;
$("copy").hidden = false;
showCommand();
