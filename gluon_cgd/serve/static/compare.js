// The window with two pictures: where they are alike, by all descriptors and by each, and what keeps them apart.

import { ask } from "./api.js";
import { Box } from "./box.js";
import { heatmap, photo, range, scale } from "./heat.js";
import { make } from "./results.js";

const $ = (id) => document.getElementById(id);
const LINE = "Bright regions add most; a white line encloses half of all that is added.";

export class Compare {
  // changed({ r, view, turned }): called when people go on to another result or view, or close the window (r: "").
  // search(result): when they search with the result.
  constructor(changed, search) {
    this.changed = changed;
    this.window = $("compare");
    this.box = new Box($("left"), (box) => this.part(box));
    $("close").addEventListener("click", () => this.window.close());
    this.window.addEventListener("close", () => this.open && this.leave());
    this.window.addEventListener("click", (event) => event.target === this.window && this.window.close());
    $("previous").addEventListener("click", () => this.step(-1));
    $("next").addEventListener("click", () => this.step(1));
    $("turn").addEventListener("click", () => this.changed({ turned: this.asked.turned ? "" : "1" }));
    $("no-region").addEventListener("click", () => this.part(null));
    $("search-this").addEventListener("click", () => search(this.result));
    this.window.addEventListener("keydown", (event) => this.key(event));
  }

  // query: what the search answered.  results: of its page.  asked: { q, box, r, view, turned }.
  async show(query, results, asked) {
    if (!asked.r) return this.hide();
    const listed = results.find((other) => other.id === asked.r);
    // An address that was sent may name a result that is on another page by now
    const result = listed || { id: asked.r, name: "", folder: "", picture: `/picture/${asked.r}` };
    const same = this.shown === [asked.q, asked.box, asked.r, asked.turned].join(" ") && this.open;
    Object.assign(this, { query, results, asked, result });
    if (!this.open) {
      this.open = true;
      this.window.showModal();
    }
    if (same) return this.draw();
    this.shown = [asked.q, asked.box, asked.r, asked.turned].join(" ");
    this.answers = this.region = null;
    this.box.show(null);
    const shown = this.shown;
    const left = { ...query, picture: address(query, asked.box) }, right = { ...result, picture: address(result) };
    [this.first, this.second] = asked.turned ? [right, left] : [left, right];
    $("turn").setAttribute("aria-pressed", String(Boolean(asked.turned)));
    $("previous").disabled = !results[results.indexOf(result) - 1];
    $("next").disabled = !listed || !results[results.indexOf(result) + 1];
    this.names(result.cosine);
    this.alert("");
    this.window.setAttribute("aria-busy", "true");
    try {
      const pictures = Promise.all([this.first, this.second].map((one) => load(one.picture)));
      pictures.catch(() => {}); // what the maps say comes first
      const answers = await ask("/api/compare", this.values()).catch((error) => error);
      if (this.shown !== shown) return;
      if (answers instanceof Error) this.alert(answers.message);
      else this.take(answers);
      this.images = await pictures;
      if (this.shown === shown) this.draw();
    } catch (error) {
      if (this.shown === shown && $("compare-alert").hidden) this.alert(error.message);
    } finally {
      if (this.shown === shown) this.window.removeAttribute("aria-busy");
    }
  }

  take(answers) {
    this.answers = answers;
    Object.assign(this.result, answers.result);
    Object.assign(this.asked.turned ? this.first : this.second, { name: this.result.name, folder: this.result.folder });
    this.names(answers.cosine);
  }

  names(cosine) {
    const said = [this.result.name, cosine === undefined ? "" : `cosine ${cosine.toFixed(4)}`];
    $("compare-title").textContent = said.filter(Boolean).join(" · ");
    $("left-name").textContent = label(this.first, !this.asked.turned);
    $("right-name").textContent = label(this.second, Boolean(this.asked.turned));
  }

  values(more = {}) {
    const { q, box, r, turned } = this.asked;
    return { q, box, r, turned, ...more };
  }

  draw() {
    const views = [{ id: "photos", label: "Photos" }, ...(this.answers ? this.answers.views : [])];
    const view = views.find(({ id }) => id === this.asked.view) || views[Math.min(1, views.length - 1)];
    $("views").replaceChildren(...views.map((one, number) => this.choice(one, one === view, number)));
    $("no-region").hidden = !this.region;
    const [left, right] = ["left", "right"].map((side) => $(side).querySelector("canvas"));
    const answer = this.region && this.region.answer;
    $("legend").hidden = !view.maps && !answer;
    if (answer) {
      const limits = range(answer.map);
      photo(left, this.images[0]);
      heatmap(right, this.images[1], answer.map, limits, "alike");
      this.limits(limits, "alike");
      this.says(`The marked part adds ${signed(answer.sum)} to the cosine of ${this.answers.cosine.toFixed(4)}. Bright: what answers it.`);
    } else if (view.maps) {
      const limits = range(...view.maps), kind = view.id === "difference" ? "apart" : "alike";
      heatmap(left, this.images[0], view.maps[0], limits, kind);
      heatmap(right, this.images[1], view.maps[1], limits, kind);
      this.limits(limits, kind);
      this.says(meaning(view, this.answers));
    } else {
      photo(left, this.images[0]);
      photo(right, this.images[1]);
      this.says("");
    }
  }

  choice(view, chosen, number) {
    const text = view.id === "photos" || view.id === "all" ? view.label : `${view.label} ${signed(view.sum)}`;
    const button = make("button", { type: "button", textContent: text, title: `Key ${number + 1}` });
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", String(chosen));
    button.dataset.view = view.id;
    button.addEventListener("click", () => this.view(view.id));
    return button;
  }

  view(id) {
    this.region = null;
    this.box.show(null);
    this.changed({ view: id });
    const button = $("views").querySelector(`[data-view="${id}"]`);
    if (button) button.focus();
  }

  async part(box) {
    this.region = null;
    if (!box || !this.answers) {
      this.box.show(null);
      this.draw();
      return;
    }
    const shown = this.shown;
    try {
      const region = await ask("/api/compare", this.values({ region: box.map((side) => side.toFixed(4)).join(",") }));
      if (this.shown !== shown) return;
      this.region = region;
      this.box.show(region.answer.marked);
      this.draw();
    } catch (error) {
      this.alert(error.message);
    }
  }

  step(by) {
    const next = this.results[this.results.indexOf(this.result) + by];
    if (next) this.changed({ r: next.id });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const number = Number(event.key);
    const choices = [...$("views").children];
    if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else if (event.key === "t") $("turn").click();
    else if (event.key === "s") $("search-this").click();
    else if (number >= 1 && number <= choices.length) choices[number - 1].click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  hide() {
    if (!this.open) return;
    this.open = false;
    this.window.close();
  }

  leave() {
    this.open = false;
    this.shown = "";
    this.changed({ r: "", turned: "" });
  }

  limits([low, high], kind) {
    scale($("scale"), kind);
    $("low").textContent = low.toPrecision(2);
    $("high").textContent = high.toPrecision(2);
  }

  says(text) {
    $("says").textContent = text;
  }

  alert(text) {
    $("compare-alert").textContent = text;
    $("compare-alert").hidden = !text;
  }
}

function meaning(view, { cosine }) {
  if (view.id === "difference") {
    return `What keeps the two apart adds up to ${view.sum.toFixed(4)}, which is 1 − cosine. ${LINE}`;
  }
  if (view.id === "all") return `Each map adds up to the cosine, ${cosine.toFixed(4)}. ${LINE}`;
  return `${view.label} adds ${signed(view.sum)} to the cosine of ${cosine.toFixed(4)}. ${LINE}`;
}

function label(picture, isQuery) {
  return [isQuery ? "Query" : "Result", picture.name, picture.folder].filter(Boolean).join(" · ");
}

function address(picture, box) {
  const [path, version] = picture.picture.split("?");
  return `${path}?${[version, "side=1280", box && `box=${box}`].filter(Boolean).join("&")}`;
}

function signed(value) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
}

function load(source) {
  const image = new Image();
  image.src = source;
  return image.decode().then(() => image, () => {
    throw new Error("One of the two pictures cannot be read any more");
  });
}
