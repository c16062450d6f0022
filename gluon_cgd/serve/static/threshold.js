// The slider for the least cosine, with a histogram of the cosines above it.

const BARS = 60;

export class Threshold {
  // chosen(text): called with the least cosine that people choose, "" for none.
  constructor(part, chosen) {
    this.part = part;
    this.slider = part.querySelector("input");
    this.output = part.querySelector("output");
    this.canvas = part.querySelector("canvas");
    this.slider.addEventListener("input", () => {
      this.named = null;
      this.say();
    });
    this.slider.addEventListener("change", () => chosen(this.text()));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // cosines: of all results, best first, with that of the query itself if `own`.  least: the text in the address.
  show(cosines, least, own) {
    this.part.hidden = !cosines || cosines.length < 2;
    if (this.part.hidden) return;
    this.cosines = cosines;
    this.named = least; // as it is in the address: the slider has fewer digits
    const named = least === "" ? Infinity : Number(least);
    this.low = Math.floor(Math.min(cosines[cosines.length - 1], named) * 100) / 100;
    this.high = Math.max(cosines[own ? 1 : 0], least === "" ? -1 : named, this.low + 0.01);
    Object.assign(this.slider, { min: this.low, max: this.high.toFixed(3), step: 0.001, value: least === "" ? this.low : least });
    this.say();
  }

  text() {
    if (this.named !== null) return this.named;
    return Number(this.slider.value) <= this.low ? "" : Number(this.slider.value).toFixed(3);
  }

  say() {
    const text = this.text();
    const count = text === "" ? this.cosines.length : this.cosines.filter((cosine) => cosine >= Number(text)).length;
    const value = `${text === "" ? "any" : Number(text).toFixed(3)} · ${count.toLocaleString("en")} ${count === 1 ? "picture" : "pictures"}`;
    this.output.textContent = value;
    this.slider.setAttribute("aria-valuetext", value);
    this.draw();
  }

  draw() {
    if (!this.cosines) return;
    const width = this.canvas.clientWidth, height = 40, ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const context = this.canvas.getContext("2d"), style = getComputedStyle(this.canvas);
    context.scale(ratio, ratio);
    const counts = new Array(BARS).fill(0);
    const place = (cosine) => Math.min(BARS - 1, Math.max(0, Math.floor(BARS * (cosine - this.low) / (this.high - this.low))));
    for (const cosine of this.cosines) counts[place(cosine)]++;
    const most = Math.sqrt(Math.max(...counts)), from = this.text() === "" ? -1 : place(Number(this.text()));
    counts.forEach((count, i) => {
      const tall = count ? Math.max(2, height * Math.sqrt(count) / most) : 0;
      context.fillStyle = style.getPropertyValue(i >= from ? "--accent" : "--line");
      context.fillRect(i * width / BARS, height - tall, width / BARS - 1, tall);
    });
  }
}
