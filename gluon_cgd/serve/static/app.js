// The page: what is asked for is in its address, so that it can be shared, and back and forward work.

import { ask, upload } from "./api.js";
import { Box } from "./box.js";
import { Compare } from "./compare.js";
import { Results, make } from "./results.js";
import { Threshold } from "./threshold.js";

const NAMES = ["q", "box", "folder", "min", "page", "r", "view", "turned"];
const $ = (id) => document.getElementById(id);
let asked = read();
let answered = null; // the answer to the last search
let request = new AbortController();
let about = { upload_bytes: 2 ** 25, folders: [] };

const results = new Results($("grid"), document.querySelectorAll(".pager"), {
  pick: (result) => go({ r: result.id }),
  search: (result) => searchWith(result.id),
  folder: (name) => go({ folder: name, page: "", r: "" }),
  page: (number) => go({ page: number === 1 ? "" : String(number), r: "" }, true),
});
const box = new Box($("stage"), (part) => go({ box: part ? pixels(part) : "", page: "", r: "", min: "" }));
const compare = new Compare((changes) => go(changes), (result) => searchWith(result.id));
const threshold = new Threshold($("threshold"), (text) => go({ min: text, page: "" }));

function read() {
  const values = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, values.get(name) || ""]));
}

function go(changes, toTop = false) {
  const before = asked;
  asked = { ...asked, ...changes };
  const values = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
  const address = values.size ? `/?${values}` : "/";
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  show(before, toTop);
}

function searchWith(id) {
  compare.hide();
  go({ q: id, box: "", page: "", r: "", min: "", turned: "" }, true);
}

async function show(before = null, toTop = false) {
  const listed = ["q", "box", "folder", "min", "page"];
  if (before && answered && listed.every((name) => before[name] === asked[name])) {
    compare.show(answered.query, answered.results, asked);
    return;
  }
  request.abort();
  request = new AbortController();
  const { signal } = request, { q, box: part, folder, min, page } = asked;
  const slow = setTimeout(() => say(q ? "Searching …" : "Loading …"), 250);
  $("grid").setAttribute("aria-busy", "true");
  try {
    const answer = q
      ? await ask("/api/search", { q, box: part, folder, min, page }, signal)
      : await ask("/api/pictures", { folder, page }, signal);
    answered = answer;
    alert("");
    showQuery(answer.query);
    results.show(answer, Boolean(q));
    threshold.show(q ? answer.cosines : null, min, q && answer.query.found);
    say(summary(answer));
    $("count").textContent = answer.pictures.toLocaleString("en");
    if (toTop && $("results").getBoundingClientRect().top < 0) $("results").scrollIntoView();
    compare.show(answer.query, answer.results, asked);
  } catch (error) {
    if (error.name === "AbortError") return;
    answered = null;
    alert(error.message);
    say("");
    if (!q || /no (longer|picture|uploaded)/.test(error.message)) showQuery(undefined);
    results.show({ results: [], page: 1, pages: 1 }, false);
    threshold.show(null, "");
    compare.hide();
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) $("grid").removeAttribute("aria-busy");
  }
  $("folder").value = asked.folder;
  $("no-folder").hidden = !asked.folder;
}

function summary({ total, more, pictures, cosines }) {
  const number = (value) => value.toLocaleString("en");
  if (!asked.q) return total === pictures ? "The collection. Click a picture to search with it." : `${number(total)} in this folder`;
  if (!total) return cosines.length ? "No picture is that similar: move the slider to the left" : "No pictures here";
  const least = asked.min ? ` with a cosine of ${Number(asked.min).toFixed(3)} or more` : "";
  const all = more && total === cosines.length;
  return all ? `The ${number(total)} most similar pictures` : `${number(total)} ${total === 1 ? "picture" : "pictures"}${least}, most similar first`;
}

function showQuery(query) {
  $("empty").hidden = Boolean(query);
  $("query").hidden = !query;
  if (!query) return;
  const source = `${query.picture}${query.picture.includes("?") ? "&" : "?"}side=1280`;
  if ($("query-image").getAttribute("src") !== source) $("query-image").src = source;
  $("query-name").textContent = query.id.startsWith("u") ? "Your picture" : [query.name, query.folder].join(" · ");
  $("query-image").alt = `Query: ${query.name}`;
  $("query-box").textContent = query.box ? `box ${query.box.join(", ")} of ${query.width} × ${query.height}` : "";
  $("whole").hidden = !query.box;
  const [x1, y1, x2, y2] = query.box || [];
  box.show(query.box && query.width ? [x1 / query.width, y1 / query.height, x2 / query.width, y2 / query.height].map((side) => Math.min(1, side)) : null);
}

function pixels([left, top, right, bottom]) {
  const { width, height } = answered.query;
  const across = [Math.floor(left * width), Math.ceil(right * width)], down = [Math.floor(top * height), Math.ceil(bottom * height)];
  return [across[0], down[0], Math.max(across[0] + 1, across[1]), Math.max(down[0] + 1, down[1])].join(",");
}

function say(text) {
  $("status").textContent = text;
}

function alert(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

async function take(files) {
  const [file] = files;
  if (!file) return;
  compare.hide();
  say("Sending the picture …");
  alert("");
  try {
    searchWith((await upload(file, about.upload_bytes)).id);
  } catch (error) {
    say("");
    alert(error.message);
  }
}

async function suggest() {
  $("suggest").disabled = true;
  $("suggestion").textContent = "Comparing the pictures of the collection with each other …";
  $("suggestion").hidden = false;
  try {
    const { cosine, sentence } = await ask("/api/threshold");
    $("suggestion").textContent = sentence.charAt(0).toUpperCase() + sentence.slice(1);
    go({ min: String(Math.max(-1, Math.min(1, cosine))), page: "" });
  } catch (error) {
    $("suggestion").hidden = true;
    alert(error.message);
  } finally {
    $("suggest").disabled = false;
  }
}

function chooseFolder() {
  const name = $("folder").value.trim();
  if (name !== asked.folder) go({ folder: name, page: "", r: "" });
}

$("choose").addEventListener("click", () => $("file").click());
$("other").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => take($("file").files).finally(() => ($("file").value = "")));
$("clear").addEventListener("click", () => go({ q: "", box: "", min: "", page: "", r: "", turned: "" }));
$("whole").addEventListener("click", () => go({ box: "", page: "", r: "", min: "" }));
$("suggest").addEventListener("click", suggest);
$("folder").addEventListener("change", chooseFolder);
$("folder").addEventListener("input", (event) => event.inputType === "insertReplacementText" && chooseFolder());
$("no-folder").addEventListener("click", () => go({ folder: "", page: "", r: "" }));
$("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(Object.fromEntries(NAMES.map((name) => [name, ""])));
});
addEventListener("popstate", () => {
  const before = asked;
  asked = read();
  show(before);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    take(event.clipboardData.files);
  }
});
let inside = 0; // of how many elements a dragged file is above
const carriesFile = (event) => [...event.dataTransfer.types].includes("Files");
addEventListener("dragenter", (event) => carriesFile(event) && document.body.classList.toggle("dropping", ++inside > 0));
addEventListener("dragleave", (event) => carriesFile(event) && document.body.classList.toggle("dropping", --inside > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files);
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=range])") || $("compare").open) return;
  const click = (label) => document.querySelector(`.pager:not([hidden]) button[aria-label="${label} page"]`)?.click();
  if (event.key === "u") $("file").click();
  else if (event.key === "/") $("folder").select();
  else if (event.key === "n") click("Next");
  else if (event.key === "p") click("Previous");
  else if (event.key.startsWith("Arrow") && event.target === document.body) $("grid").querySelector(".pick")?.focus();
  else return;
  event.preventDefault();
});

show();
ask("/api/about").then((values) => {
  about = values;
  $("folders").replaceChildren(...about.folders.map(({ name, pictures }) => make("option", { value: name, label: `${name} (${pictures})` })));
}, () => {});
