// A row per Action Unit, time to the right; the more probable, the stronger its colour.

import { byRegion } from "./bars.js";

const ROW = 15;
const LEFT = 150;
const FOOT = 20;

export class Timeline {
  // span: [from, to] in seconds; samples: [{ time, values }] in order
  constructor(canvas, aus) {
    this.canvas = canvas;
    this.aus = byRegion(aus);
    this.samples = [];
    this.cursor = null;
    canvas.style.height = `${this.aus.length * ROW + FOOT}px`;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(samples, from, to, relative = false) {
    Object.assign(this, { samples, from, to, relative });
    this.draw();
  }

  timeAt(x) {
    const left = this.#left();
    const share = (x - left) / (this.canvas.clientWidth - left);
    return this.from + Math.min(1, Math.max(0, share)) * (this.to - this.from);
  }

  #left() {
    return this.canvas.clientWidth < 520 ? 52 : LEFT;
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = this.aus.length * ROW + FOOT;
    if (!width) return;
    const left = this.#left();
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const brush = canvas.getContext("2d");
    brush.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    brush.font = "11.5px system-ui, sans-serif";
    brush.textBaseline = "middle";
    const snap = (at) => Math.round(at * scale) / scale; // neighbours meet at a pixel's edge, without overlap
    const x = (time) => left + ((time - this.from) / (this.to - this.from)) * (width - left);
    this.aus.forEach((au, i) => {
      const top = i * ROW;
      brush.fillStyle = colour("sunken");
      brush.fillRect(left, top + 1, width - left, ROW - 2);
      brush.fillStyle = colour("ink");
      brush.fillText(left < LEFT ? au.column : `${au.column}  ${au.name}`, 0, top + ROW / 2, left - 8);
      if (this.from === undefined) return;
      brush.fillStyle = colour(au.region);
      let from = null;
      this.samples.forEach((sample, n) => {
        const p = sample.values?.[au.column];
        const start = Math.max(left, from ?? snap(x(sample.time)));
        const next = this.samples[n + 1];
        const end = Math.min(width, snap(next ? x(next.time) : x(sample.time) + 2));
        from = end;
        if (p == null || end <= start) return;
        brush.globalAlpha = p < 0.5 ? 0.5 * p : 0.35 + 0.65 * (2 * p - 1);
        brush.fillRect(start, top + 1, end - start, ROW - 2);
      });
      brush.globalAlpha = 1;
    });
    if (this.from === undefined) return;
    brush.fillStyle = colour("soft");
    this.#ticks(brush, x, width, height - FOOT / 2 + 2);
    if (this.cursor !== null) {
      brush.fillStyle = colour("ink");
      brush.fillRect(x(this.cursor) - 1, 0, 2, height - FOOT);
    }
  }

  #ticks(brush, x, width, y) {
    const span = this.to - this.from;
    const step = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600].find((s) => span / s <= Math.max(3, width / 110)) ?? 1800;
    for (let t = Math.ceil(this.from / step) * step; t <= this.to + 1e-6; t += step) {
      const text = this.relative ? `${Math.round(t - this.to)} s` : t >= 60 ? `${Math.floor(t / 60)}:${String(Math.round(t % 60)).padStart(2, "0")}` : `${+t.toFixed(1)} s`;
      brush.textAlign = x(t) > width - 20 ? "right" : "center";
      brush.fillText(text, x(t), y);
    }
    brush.textAlign = "left";
  }
}
