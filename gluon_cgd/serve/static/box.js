// A box that people draw on a picture, with a pointer or with the keyboard. Sides are parts of the picture, 0 to 1.

const STEP = 0.02;

export class Box {
  // stage: the element around the picture. chosen(box): called when a box, or null, is chosen.
  constructor(stage, chosen) {
    this.stage = stage;
    this.chosen = chosen;
    this.box = null; // [left, top, right, bottom]
    this.frame = document.createElement("div");
    this.frame.className = "box";
    this.frame.hidden = true;
    stage.append(this.frame);
    stage.addEventListener("pointerdown", (event) => this.begin(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    stage.addEventListener("pointerup", (event) => this.end(event));
    stage.addEventListener("pointercancel", () => this.cancel());
    stage.addEventListener("keydown", (event) => this.key(event));
  }

  show(box) {
    this.box = box;
    this.frame.hidden = !box;
    if (!box) return;
    const [left, top, right, bottom] = box.map((side) => side * 100);
    Object.assign(this.frame.style, {
      left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
    });
  }

  place(event) {
    const area = this.stage.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    return [inside((event.clientX - area.left) / area.width), inside((event.clientY - area.top) / area.height)];
  }

  begin(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    this.before = this.box;
    this.start = this.place(event);
    this.stage.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.stage.focus({ preventScroll: true });
  }

  move(event) {
    if (!this.start) return;
    const [x, y] = this.place(event);
    const [a, b] = this.start;
    this.show([Math.min(a, x), Math.min(b, y), Math.max(a, x), Math.max(b, y)]);
  }

  end(event) {
    if (!this.start) return;
    this.move(event);
    this.start = null;
    const area = this.stage.getBoundingClientRect();
    const [left, top, right, bottom] = this.box;
    if ((right - left) * area.width < 6 || (bottom - top) * area.height < 6) this.show(this.before); // a click
    else this.chosen(this.box);
  }

  cancel() {
    if (!this.start) return;
    this.start = null;
    this.show(this.before);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter") {
      if (this.box) this.chosen(this.box);
      else this.show([0.25, 0.25, 0.75, 0.75]);
    } else if (this.box && (event.key === "Delete" || event.key === "Backspace")) {
      this.show(null);
      this.chosen(null);
    } else if (this.box && event.key in arrows) {
      this.shift(...arrows[event.key], event.shiftKey);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  shift(x, y, resize) {
    let [left, top, right, bottom] = this.box;
    const inside = (value, low, high) => Math.min(high, Math.max(low, value));
    if (resize) {
      right = inside(right + x * STEP, left + STEP, 1);
      bottom = inside(bottom + y * STEP, top + STEP, 1);
    } else {
      const across = inside(x * STEP, -left, 1 - right), down = inside(y * STEP, -top, 1 - bottom);
      [left, right, top, bottom] = [left + across, right + across, top + down, bottom + down];
    }
    this.show([left, top, right, bottom]);
  }
}
