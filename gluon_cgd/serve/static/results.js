// The grid of pictures and the pages.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export class Results {
  // pick(result), search(result), folder(name), page(number): called when people choose that.
  constructor(grid, pagers, actions) {
    this.grid = grid;
    this.pagers = pagers;
    this.actions = actions;
    this.results = [];
    grid.addEventListener("keydown", (event) => this.key(event));
  }

  show({ results, page, pages }, asked) {
    this.results = results;
    this.grid.replaceChildren(...results.map((result, number) => this.tile(result, number, asked)));
    for (const pager of this.pagers) this.pages(pager, page, pages);
  }

  tile(result, number, asked) {
    const { pick, search, folder } = this.actions;
    const image = make("img", { src: result.picture, alt: "", loading: "lazy", decoding: "async", draggable: false });
    const well = make("span", { className: "well" }, image);
    image.addEventListener("error", () => well.replaceChildren(make("span", { className: "unreadable", textContent: result.note === "gone" ? "not there any more" : "cannot be read" })));
    const cosine = "cosine" in result ? result.cosine.toFixed(3) : "";
    const button = make("button", { type: "button", className: "pick" }, well);
    const what = asked ? `Compare with result ${number + 1}` : "Search with";
    button.setAttribute("aria-label", [what, result.name, result.folder, cosine].filter(Boolean).join(", "));
    button.addEventListener("click", () => (asked ? pick(result) : search(result)));
    const place = make("button", { type: "button", className: "folder", textContent: result.folder, title: `Only the folder ${result.folder}` });
    place.addEventListener("click", () => folder(result.folder));
    const name = make("span", { className: "name", textContent: result.name, title: result.name });
    const line = make("span", { className: "line" }, name);
    if (cosine) line.append(make("span", { className: "cosine", textContent: cosine }));
    const item = make("li", { className: result.is_query ? "tile own" : "tile" }, button, line, place);
    if (result.is_query) item.append(make("span", { className: "badge", textContent: "the query itself" }));
    else if (result.note) item.append(make("span", { className: "badge", textContent: result.note === "gone" ? "gone since indexed" : "changed since indexed" }));
    if (asked && !result.is_query) {
      const again = make("button", { type: "button", className: "again", title: "Search with this picture" });
      again.setAttribute("aria-label", `Search with ${result.name}`);
      again.addEventListener("click", () => search(result));
      item.append(again);
    }
    return item;
  }

  pages(pager, page, pages) {
    pager.hidden = pages < 2;
    const button = (text, label, number) => {
      const element = make("button", { type: "button", textContent: text, disabled: number < 1 || number > pages });
      element.setAttribute("aria-label", label);
      element.addEventListener("click", () => this.actions.page(number));
      return element;
    };
    pager.replaceChildren(
      button("‹", "Previous page", page - 1),
      make("span", { textContent: `${page} of ${pages.toLocaleString("en")}` }),
      button("›", "Next page", page + 1),
    );
  }

  key(event) {
    const buttons = [...this.grid.querySelectorAll(".pick")];
    const at = buttons.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "s") {
      this.actions.search(this.results[at]);
    } else {
      const top = (button) => button.getBoundingClientRect().top;
      const columns = Math.max(1, buttons.filter((button) => Math.abs(top(button) - top(buttons[0])) < 2).length);
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: buttons.length - 1 - at };
      const next = buttons[at + steps[event.key]];
      if (!next) return;
      next.focus();
    }
    event.preventDefault();
  }
}
